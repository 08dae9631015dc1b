"Everything about the package stands in settings.ini; this reads it."
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

cp = ConfigParser(delimiters=["="])
cp.read("settings.ini", encoding="utf-8")
cfg = cp["DEFAULT"]
lib = cfg["lib_path"]
setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    url=cfg["git_url"],
    license=cfg["license"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    keywords=cfg["keywords"],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[lib, f"{lib}.*"]),
    package_data={lib: ["**/data/**"]},
    install_requires=shlex.split(cfg["requirements"]),
    extras_require={k.removesuffix("_requirements"): shlex.split(v) for k, v in cfg.items() if k.endswith("_requirements")},
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    entry_points={"console_scripts": cfg["console_scripts"].split(), "nbdev": [f"{lib}={lib}._modidx:d"]},
)
