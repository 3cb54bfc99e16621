"""Every snippet and every command in README and docs is run here."""

from __future__ import annotations

import multiprocessing
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import oneshot_core
from oneshot_core.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SLOW = {"adapter.md", "improve.md", "strategy.md"}
SNIPPETS = [
    pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in SLOW else [])
    for page in PAGES[2:]
]

# Each page runs in a process of its own, forked from one that has imported what they all need.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytorch_lightning", "oneshot_core.lightning"])

RUN_BLOCKS = """
import os, pathlib, re
os.chdir(folder)
output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
os.dup2(output, 1)
os.dup2(output, 2)
text = pathlib.Path(page).read_text()
names = {"__name__": "page"}  # the blocks of a tutorial go on from each other
for number, block in enumerate(re.findall(r"^```python\\n(.*?)^```$", text, re.M | re.S)):
    names = names if "/tutorials/" in page else {"__name__": f"block{number}"}
    exec(compile(block, f"{page}[{number}]", "exec"), names)
"""

USE_THE_RECIPES = """
import pytorch_lightning as pl, torch, oneshot_core as oneshot
from torch.utils.data import DataLoader

blocks = {}
for block in re.findall(r"^```python\\n(.*?)^```$", text, re.M | re.S):
    if "class ScaleChoice" in block:
        oneshot.registry.unregister("supernet", "scale.mixed")
        exec(block, blocks)

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        scale = blocks["ScaleChoice"]([1, 2, 5], label="s")
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 3), scale)
    def forward(self, x):
        return self.net(x)
    def training_step(self, batch, batch_idx):
        return self(batch).square().mean()
    def validation_step(self, batch, batch_idx):
        self.log("size", self(batch).square().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = DataLoader(torch.randn(16, 3), 4)
options_of = {"noise.lazy": {"keep": 0.5}, "random": {}, "darts": {"arch_dataloader": data}}
for strategy, options in options_of.items():
    search = oneshot.search(Model(), strategy, seed=0, **options)
    pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
               enable_model_summary=False, accelerator="cpu").fit(search, data)
    ranking = search.rank("all", data, metric="size", mode="min", progress=False)
    assert ranking.best == {"s": 1} and len(ranking) == 3
    assert len(search.rank("noise.first", data, metric="size", budget=2, progress=False)) == 2
    x = torch.randn(2, 3)
    for scale in (1, 2, 5):
        with search.at({"s": scale}):
            assert torch.equal(search(x), oneshot.freeze(search, {"s": scale})(x))
"""


def run(script: str, page: Path, folder: Path) -> None:
    process = FORKS.Process(target=exec, args=(script, {"page": str(page), "folder": str(folder)}))
    process.start()
    process.join()
    assert process.exitcode == 0, (folder / "output.txt").read_text()


def test_the_six_lines_of_the_readme_are_those_of_its_whole_script() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (six,) = re.findall(r"^```py\n(.*?)^```$", text, re.M | re.S)
    script = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)[0]
    assert len(six.splitlines()) == 6
    assert script.endswith(six)


def test_the_readme_search_runs_and_saves_its_architecture(tmp_path: Path) -> None:
    run(RUN_BLOCKS, ROOT / "README.md", tmp_path)
    assert (tmp_path / "architecture.json").is_file()


def test_the_recipes_for_contributors_run_and_work_with_every_strategy(tmp_path: Path) -> None:
    run(RUN_BLOCKS + USE_THE_RECIPES, ROOT / "CONTRIBUTING.md", tmp_path)


@pytest.mark.parametrize("page", SNIPPETS)
def test_the_snippets_of_the_docs_run(page: Path, tmp_path: Path) -> None:
    # Blocks with a title are files; tests/test_tutorial.py follows that page step by step.
    if "```python\n" in page.read_text():
        run(RUN_BLOCKS, page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_in_the_docs_exists(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in re.findall(r"\bmake ([a-z-]+)\b(?=`|$)", text, re.M):
        assert target in targets
    for line in re.findall(r"^\$ oneshot (.+)$", text, re.M) + re.findall(
        r"`oneshot ([^`]+)`", text
    ):
        command = line.partition(" --")[0]
        words = [word for word in command.split() if not word.isupper()]  # NAME stands for any
        if words:
            assert main([*words, "--help"]) == 0, line
    capsys.readouterr()


def test_the_transparency_page_lists_exactly_the_cases_that_are_compared() -> None:
    source = (ROOT / "tests/lightning/test_transparency.py").read_text()
    module: dict[str, Any] = {"__name__": "cases"}
    exec(compile(source, "test_transparency.py", "exec"), module)
    text = (ROOT / "docs/transparency.md").read_text()
    table = text[text.index("### Cases") : text.index("Negative controls")]
    listed = [
        name for row in re.findall(r"^\| [^|]+ \|(.+)\|$", table, re.M) for name in row.split()
    ]
    assert sorted(name.strip("`") for name in listed) == sorted(module["CASES"])


def test_the_report_on_the_inspection_page_is_what_its_snippet_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / "docs/inspect.md").read_text()
    snippet, shown = re.findall(r"^```(?:python|text)\n(.*?)^```$", text, re.M | re.S)[:2]
    exec(compile(snippet, "inspect.md", "exec"), {"__name__": "snippet"})
    assert capsys.readouterr().out == shown


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site and code hosts name them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def test_every_relative_link_leads_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", page.read_text()):
            place = page.parent / target if target else page
            assert place.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(place), f"{page}: {target}#{anchor}"


def test_every_picture_is_drawn_by_a_script_beside_it() -> None:
    for picture in (ROOT / "docs").rglob("*.svg"):
        script = picture.with_suffix(".py")
        assert f'"{picture.name}"' in script.read_text(), picture


def test_the_new_names_in_the_guide_from_nni_exist() -> None:
    named = {"oneshot": oneshot_core, "search": oneshot_core.BaseOneShotLightningModule}
    text = (ROOT / "docs/from-nni.md").read_text()
    tables = text[text.index("## Names") : text.index("## What behaves")]
    for row in re.findall(r"^\| .+$", tables, re.M):
        for owner, name in re.findall(r"\b(oneshot|search)\.(\w+)", row.rsplit(" | ", 1)[1]):
            assert hasattr(named[owner], name), f"{owner}.{name}"
    for name in re.findall(r"^\| .+ \| `\"(\w+)\"`", tables, re.M):
        assert name in oneshot_core.registry.names("strategy")


def test_every_public_name_is_on_the_api_page() -> None:
    page = (ROOT / "docs/api.md").read_text()
    shown = set(re.findall(r"^::: oneshot_core\.(\w+)$", page, re.M))
    assert set(oneshot_core.__all__) - {"__version__"} <= shown


def test_the_page_of_hooks_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "docs/plugins/generate.py"))
    assert script["PAGE"].read_text() == script["page"](), "run: python docs/plugins/generate.py"
