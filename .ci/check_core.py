"""Check an installation without an extra: README's examples for an own loop run, and the rest says what it needs.

Usage: check_core.py README.md, with the interpreter of that installation.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

for package in ("altair", "optuna", "rich", "sklearn", "sqlalchemy", "starlette", "typer", "uvicorn"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed: this is not the core alone"

blocks = re.findall(r"```python\n(.*?)```", Path(sys.argv[1]).read_text(encoding="utf-8"), flags=re.DOTALL)
own = [code for code in blocks if re.search(r"range_test|import bind|watch\(|adapt\(", code)]
assert len(own) == 4, f"{len(own)} of README's {len(blocks)} examples need no extra"
for code in own:
    exec(compile(code, "README.md", "exec"), {"__name__": "example"})

[find] = [code for code in blocks if "stepsize.find(" in code]
exec(compile(find.partition("found.plot()")[0], "README.md", "exec"), {"__name__": "example"})

needs = {"stepsize.Store": "search", "stepsize.build_task('digits-mlp')": "tasks", "import stepsize.live": "live"}
for code, extra in needs.items():
    done = subprocess.run(
        [sys.executable, "-c", f"import stepsize; {code}"], capture_output=True, text=True, check=False
    )
    assert f'run: pip install "stepsize[{extra}]"' in done.stderr, done.stderr
stepsize = Path(sys.executable).with_name("stepsize")
done = subprocess.run([stepsize, "find", "digits-mlp"], capture_output=True, text=True, check=False)
assert done.returncode == 2, done
assert re.fullmatch(r'Error: \w+ is not installed; run: pip install "stepsize\[cli\]"\n', done.stderr), done.stderr
print("The core alone does what README says.")
