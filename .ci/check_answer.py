"""Check what the main job left in the present folder: found.json, doctor.json and out.png."""

import json
import math
from pathlib import Path

found = json.loads(Path("found.json").read_text(encoding="utf-8"))
missing = {"lr", "as_good", "sure", "verdict", "cost", "next", "curve", "restored"} - set(found)
assert not missing, f"found.json lacks {missing}"
low, high = found["as_good"]
assert 0 < low <= found["lr"] <= high < math.inf, "the rate lies outside the range that is as good"
assert found["restored"] is True, "the model was not restored"
assert Path("out.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), "out.png is no PNG"
doctor = json.loads(Path("doctor.json").read_text(encoding="utf-8"))
assert doctor["devices"][0]["name"] == "cpu", "the doctor sees no CPU"
assert found["verdict"] in ("settled", "flat", "open"), found["verdict"]
print(f"lr {found['lr']:.3g}, as good from {low:.3g} to {high:.3g}: {found['verdict']}")
