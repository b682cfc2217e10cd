"""The store: studies, runs and findings in SQLite or PostgreSQL."""

from __future__ import annotations

from stepsize.errors import needing

with needing("search"):
    from stepsize.store.records import FindingRecord as FindingRecord
    from stepsize.store.records import OrderRecord as OrderRecord
    from stepsize.store.records import ProgressRecord as ProgressRecord
    from stepsize.store.records import SignalsRecord as SignalsRecord
    from stepsize.store.records import StudyRecord as StudyRecord
    from stepsize.store.records import Tally as Tally
    from stepsize.store.records import WatchRecord as WatchRecord
    from stepsize.store.store import Store as Store
    from stepsize.store.writer import Writer as Writer
