"""Built-in real tasks: a catalog of small tasks on real data, one entry each."""

from stepsize.tasks.catalog import TASKS as TASKS
from stepsize.tasks.catalog import TaskEntry as TaskEntry
from stepsize.tasks.catalog import build_task as build_task
from stepsize.tasks.folder import data_folder as data_folder
