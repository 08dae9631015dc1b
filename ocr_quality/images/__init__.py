"What can be seen on a page. Numba keeps compiled kernels beside the code or in the user's cache; where both are read-only, here is a third place"
import atexit
import os
import shutil
import tempfile
from pathlib import Path


def _writable(folder: Path) -> bool:
    "Whether `folder` can be written, or could be made"
    while not folder.exists() and folder != folder.parent: folder = folder.parent
    return os.access(folder, os.W_OK)


if "NUMBA_CACHE_DIR" not in os.environ:
    user = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    if not (_writable(Path(__file__).parent / "__pycache__") or _writable(Path(os.path.expanduser(user)))):
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="ocr_quality_")  # Of this process alone: what lies there is executed
        atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)
