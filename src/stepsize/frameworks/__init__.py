"""Other frameworks: one line in their trainers, and schedules for them; each is loaded on first use."""

from stepsize.frameworks.keras_schedule import to_keras as to_keras
from stepsize.frameworks.optax_schedule import to_optax as to_optax
