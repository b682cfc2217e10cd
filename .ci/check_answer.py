"""Check what the main job left in the present folder: found.json, doctor.json and out.png."""

import json
import math
from pathlib import Path

found = json.loads(Path("found.json").read_text(encoding="utf-8"))
missing = {"lr", "interval", "verdict", "cost", "curve", "restored"} - set(found)
assert not missing, f"found.json lacks {missing}"
low, high = found["interval"]
assert 0 < low <= found["lr"] <= high < math.inf, "the rate lies outside its interval"
assert found["restored"] is True, "the model was not restored"
assert Path("out.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), "out.png is no PNG"
doctor = json.loads(Path("doctor.json").read_text(encoding="utf-8"))
assert doctor["devices"][0]["name"] == "cpu", "the doctor sees no CPU"
print(f"lr {found['lr']:.3g} in [{low:.3g}, {high:.3g}]: {found['verdict']}")
