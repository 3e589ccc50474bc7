import base64
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from vaept.companion import explorer
from vaept.companion.profiles import profile
from vaept.companion.store import RunStore
from vaept.companion.study import Study
from vaept.spectrum import oscillator
from vaept.vae.model import VAE

BOOK = Path(__file__).parents[2] / "book"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PIXEL = 1 / 255
SMALL = {"latent_dims": (2,), "likelihood_images": 10, "importance_samples": 10}


def array(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def unpacked(layers, z):
    """What the integers of a decoder make of latents, before the last nonlinearity."""
    x = np.asarray(z, dtype=float)
    for number, layer in enumerate(layers):
        scale, bias = array(layer["scale"], "<f4"), array(layer["bias"], "<f4")
        weight = array(layer["weight"], {8: "i1", 16: "<i2"}[layer["bits"]]).reshape(len(scale), x.shape[1])
        x = (np.maximum(x, 0) if number else x) @ (weight * scale[:, None]).T + bias
    return x


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("hidden", [(), (40,), (60, 30)])
def test_rounded_decoders_decode_as_the_model_does(hidden, likelihood):
    model = VAE(20, 2, hidden, likelihood)
    model.initialise(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for p in model.parameters():
            p += 0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(4))
    z = np.random.default_rng(5).uniform(-3, 3, (50, 2))
    with torch.no_grad():
        images = model.decode(torch.tensor(z, dtype=torch.float32)).numpy()
    for bits, tolerance in ((16, 0.5 * PIXEL), (8, 0.1)):
        decoder = explorer.packed_decoder(model, 3.0, bits)
        found = unpacked(decoder["layers"], z)
        found = 1 / (1 + np.exp(-found)) if likelihood == "bernoulli" else found
        assert np.abs(found - images).max() <= max(1.5 * decoder["error"], 1e-5) <= tolerance
        assert len(array(decoder["layers"][-1]["bias"], "<f4")) == 20


def test_rounding_makes_up_for_itself():
    """Inputs that say the same leave the errors of single weights no room."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 4)) @ rng.standard_normal((4, 60))
    weight, bias = rng.standard_normal((7, 60)), rng.standard_normal(7)
    integers, scale, new = explorer._rounded(weight, bias, x, 127)
    plain = np.round(weight / scale[:, None])
    assert np.abs(integers).max() <= 127 and (integers == np.round(integers)).all()
    error = np.abs(x @ (integers * scale[:, None] - weight).T + new - bias).max()
    assert error < 0.2 * np.abs(x @ (plain * scale[:, None] - weight).T).max()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    own = dataclasses.replace(profile("quick"), **SMALL)
    return Study(own, RunStore(tmp_path_factory.mktemp("runs")), jobs=1)


@pytest.fixture(scope="module")
def packed(study):
    return explorer.packed(study)


def test_the_landscape_of_a_member_drains_into_its_valleys(study, packed):
    n = packed["points"]
    for arm in packed["arms"]:
        for member in arm["members"]:
            energy, basin = (array(member[name], np.uint8).reshape(n, n) for name in ("energy", "basin"))
            minima = np.array(member["minima"])
            assert energy.min() == 0 and set(np.unique(basin)) == set(range(len(minima)))
            assert (np.diff(minima[:, 2]) >= 0).all() and minima[0, 2] == 0
            cells = np.round((minima[:, :2] / packed["reach"] + 1) / 2 * (n - 1)).astype(int)
            assert (basin[cells[:, 1], cells[:, 0]] == np.arange(len(minima))).all()
            assert np.allclose(energy[cells[:, 1], cells[:, 0]] * packed["top"] / 255, minima[:, 2], atol=0.02)


def test_all_seeds_are_there_or_it_is_said_which(study, packed, monkeypatch, tmp_path):
    whole = len(json.dumps(packed))
    assert packed["bits"] == 16 and packed["seeds"] == ["0", "1", "2"] and packed["error"] < PIXEL
    for largest, bits, seeds in ((0.95 * whole, 8, 3), (0.6 * whole, 8, 2)):
        monkeypatch.setattr(explorer, "LARGEST", largest + explorer.ROOM)
        found = explorer.packed(study)
        assert (found["bits"], len(found["seeds"])) == (bits, seeds)
        assert all(len(arm["members"]) == seeds for arm in found["arms"])
    assert "Only the first 2 of 3 seeds" in explorer._page(study, found, 1)
    monkeypatch.setattr(explorer, "LARGEST", explorer.ROOM)
    explorer.write(study, tmp_path / "explore.md", tmp_path / "static")
    assert "too large" in (tmp_path / "explore.md").read_text() and not (tmp_path / "static").exists()


def test_without_a_plane_there_is_a_page_that_says_so(study, tmp_path):
    other = dataclasses.replace(study, profile=dataclasses.replace(study.profile, latent_dims=(4, 8)))
    explorer.write(other, tmp_path / "explore.md", tmp_path / "static")
    assert "d = 4, 8" in (tmp_path / "explore.md").read_text() and not (tmp_path / "static").exists()


@pytest.fixture(scope="module")
def browsed(study, tmp_path_factory):
    """A function from a script to the JSON value that it leaves in `answer`, on a page with the explorer."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "book").mkdir()
    for name in explorer.FILES:
        shutil.copy(BOOK / name, folder / "book" / name)
    explorer.write(study, folder / "book" / "explore.md", folder / "_static" / "explorer")
    page = (folder / "book" / "explore.md").read_text("utf-8")
    html = page.split("```{raw} html")[1].split("```")[0]

    def ask(script):
        path = folder / "book" / "test.html"
        end = "document.body.append(Object.assign(document.createElement('pre'), {id: 'answer', textContent: text}));"
        script = f"(async () => {{ {script}; const text = JSON.stringify(answer); {end} }})();"
        path.write_text(f'<!doctype html><meta charset="utf-8"><body>{html}<script>{script}</script>', "utf-8")
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'user'}"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000", "--dump-dom", path.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
        return json.loads(BeautifulSoup(shown, "html.parser").find(id="answer").get_text())

    return ask


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@needs_chromium
def test_the_browser_decodes_what_torch_decodes(study, packed, browsed):
    """At ten points, for every seed of both arms; and its populations are those of the package."""
    rng = np.random.default_rng(1)
    z = rng.uniform(-packed["reach"], packed["reach"], (10, 2)).astype(np.float32)
    mean, width = rng.uniform(-2, 2, (3, 2)), rng.uniform(0.1, 1.5, (3, 2))
    found, shares = browsed(
        f"const [d, z] = [window.vaeptExplorer, {z.tolist()}];"
        "const images = d.arms.map((arm, a) => arm.members.map((_, s) => z.map((each) => d.decode(a, s, each))));"
        f"const w = {width.tolist()};"
        f"const answer = [images, {mean.tolist()}.map((m, k) => Array.from(d.populations(m, w[k], 50)))]"
    )
    for arm, images in zip(explorer.ARMS, found, strict=True):
        expected = study.ensemble(2, arm).decode(z).reshape(3, 10, -1)
        assert np.abs(np.array(images) - expected).max() < PIXEL
    assert np.allclose(shares, oscillator.level_populations(mean, width**2, 50), atol=1e-12)


@needs_chromium
def test_keys_move_the_point_and_another_seed_keeps_it(packed, browsed):
    facts = "Array.from(document.querySelectorAll('#explorer dd'), (each) => each.textContent)"
    places = browsed(
        "const [later, answer] = [() => new Promise((done) => setTimeout(done, 200)), []];"
        "const map = document.querySelector('#explorer .map');"
        f"answer.push({facts});"
        "map.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', shiftKey: true})); await later();"
        f"answer.push({facts});"
        f"document.querySelectorAll('#explorer input')[1].click(); answer.push({facts})"
    )
    x, y = packed["start"]
    moved = min(x + 0.5, packed["reach"])
    at = [f"z₁ = {each:.2f}, z₂ = {y:.2f}".replace("-", "−") for each in (x, moved)]
    assert [place[1] for place in places] == [at[0], at[1], at[1]]
    assert [place[0] for place in places] == ["0, with the field"] * 2 + ["1, without the field"]
