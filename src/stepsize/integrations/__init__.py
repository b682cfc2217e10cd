"""Integrations: schedules and results for other frameworks, one file each; a framework is loaded on first use."""

from stepsize.integrations.keras import to_keras as to_keras
from stepsize.integrations.optax import to_optax as to_optax
