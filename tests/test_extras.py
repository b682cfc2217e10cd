"""What works with the core alone, and what a missing extra says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.docs.blocks import ROOT, blocks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = (
    "PIL", "altair", "cloudpickle", "optuna", "psycopg", "ray", "rich", "sklearn", "sqlalchemy", "starlette", "typer",
    "uvicorn", "vl_convert",
)  # fmt: skip
ALONE = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"
TASK = """
import torch, stepsize
x = torch.randn(64, 3)
task = stepsize.Task(
    model=lambda: torch.nn.Linear(3, 1), loss=torch.nn.functional.mse_loss, train=(x, x[:, :1]), val=(x, x[:, :1]),
    optimizer="sgd", steps=8,
)
"""


def alone(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` as if no optional package was installed."""
    command = [sys.executable, "-W", "error", "-c", ALONE + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110, cwd=cwd)


def test_with_the_core_alone_readmes_own_loops_run_a_rate_is_found_and_the_rest_says_what_to_install(
    tmp_path: Path,
) -> None:
    found = [block.code for block in blocks(ROOT / "README.md", "python")]
    own = [code for code in found if re.search(r"range_test|import bind|watch\(|adapt\(", code)]
    assert len(own) == 4
    needs = {
        "stepsize.Store": "search",
        "stepsize.find(task, budget=4, store='a.db')": "search",
        "stepsize.watch_task(task, 0.1, store='a.db')": "search",
        "stepsize.sweep(task, lr=(1e-3, 1.0), trials=4, sampler='tpe')": "search",
        "stepsize.range_test(task).plot()": "plot",
        "stepsize.build_task('digits-mlp')": "tasks",
        "import stepsize.live": "live",
        "stepsize.find(task, budget=4, workers='processes')": "processes",
        "stepsize.find(task, budget=4, workers='ray')": "ray",
    }
    ask = "".join(f"try: {code}\nexcept stepsize.errors.MissingExtraError as error: print(error)\n" for code in needs)
    examples = "".join(f"exec({code!r}, {{}})\n" for code in own)
    find = f"{TASK}import stepsize.errors\nprint('---')\nprint(stepsize.find(task, budget=4).verdict)\n"
    done = alone(examples + find + ask, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    verdict, *messages = done.stdout.partition("---\n")[2].splitlines()
    assert verdict in ("settled", "flat", "open", "no answer")
    for message, extra in zip(messages, needs.values(), strict=True):
        assert re.fullmatch(rf'\w+ is not installed; run: pip install "stepsize\[{extra}\]"', message)
    assert not list(tmp_path.iterdir())


def test_a_command_says_in_one_line_which_extra_it_needs_before_anything_is_trained(tmp_path: Path) -> None:
    find = "from stepsize.cli import main; main(['find', 'digits-mlp', '--plot', 'a.png'])"
    done = alone(find, tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r'Error: \w+ is not installed; run: pip install "stepsize\[cli\]"\n', done.stderr)
    done = alone(f"for name in ('rich', 'typer'): del sys.modules[name]\n{find}", tmp_path)
    assert done.returncode == 2
    assert done.stderr == 'Error: altair is not installed; run: pip install "stepsize[plot]"\n'
    live = "from stepsize.cli import main; main(['live'])"
    done = alone(f"for name in ('rich', 'typer', 'sqlalchemy'): del sys.modules[name]\n{live}", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r'Error: \w+ is not installed; run: pip install "stepsize\[live\]"\n', done.stderr)


def test_the_core_is_small_and_all_holds_what_the_command_line_needs() -> None:
    core = {re.split(r"[>=<]", one)[0] for one in PROJECT["dependencies"]}
    assert core == {"numpy", "scipy", "threadpoolctl", "torch"}
    assert PROJECT["optional-dependencies"]["all"] == ["stepsize[cli,live,plot,processes,search,tasks]"]


def test_every_extra_that_an_error_names_exists() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    call = re.compile(r'(?:needing|MissingExtraError)\((?:"[\w-]+", )?"(\w+)"\)')
    named = {name for text in sources for name in call.findall(text)}
    assert {"cli", "plot", "search", "tasks"} <= named <= set(PROJECT["optional-dependencies"])


def test_the_version_is_that_of_the_changelog_and_of_the_citation() -> None:
    import stepsize

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {stepsize.__version__}\n" in citation
    assert f"## {stepsize.__version__}" in changelog
