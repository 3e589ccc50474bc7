// The latent explorer. `vaept.companion.explorer` writes its data and says what they are.
(() => {
  "use strict";
  const data = window.vaeptExplorer;
  const array = (Kind, text) => new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const members = data.arms.map((arm) =>
    arm.members.map((own) => ({
      minima: own.minima,
      energy: array(Uint8Array, own.energy),
      basin: array(Uint8Array, own.basin),
      dots: array(Float32Array, own.dots),
      widths: array(Float32Array, own.widths),
      layers: own.layers.map((layer) => ({
        weight: array(layer.bits === 16 ? Int16Array : Int8Array, layer.weight),
        scale: array(Float32Array, layer.scale),
        bias: array(Float32Array, layer.bias),
      })),
    })),
  );

  // The mean image of a latent.
  function decode(member, z) {
    let x = Float64Array.from(z);
    member.layers.forEach((layer, number) => {
      const y = new Float64Array(layer.bias.length);
      for (let i = 0, at = 0; i < y.length; i++) {
        let sum = 0;
        for (let j = 0; j < x.length; j++) sum += layer.weight[at++] * x[j];
        y[i] = sum * layer.scale[i] + layer.bias[i];
        if (number < member.layers.length - 1) y[i] = Math.max(y[i], 0);
      }
      x = y;
    });
    return data.bernoulli ? x.map((value) => 1 / (1 + Math.exp(-value))) : x;
  }

  // How much of a Gaussian packet lies in each of the first n levels: vaept.spectrum.oscillator.level_populations.
  function populations(mean, width, n) {
    const own = mean.map((mu, k) => {
      const variance = width[k] ** 2;
      const alpha = mu / (1 + variance);
      const beta = (variance - 1) / (variance + 1);
      const c = new Float64Array(n);
      c[0] = Math.sqrt((2 * width[k]) / (1 + variance)) * Math.exp((-mu * mu) / (4 * (1 + variance)));
      if (n > 1) c[1] = alpha * c[0];
      for (let i = 1; i < n - 1; i++) c[i + 1] = (alpha * c[i] + beta * Math.sqrt(i) * c[i - 1]) / Math.sqrt(i + 1);
      return c.map((value) => value * value);
    });
    const total = new Float64Array(n);
    for (let i = 0; i < n; i++) for (let j = 0; i + j < n; j++) total[i + j] += own[0][i] * own[1][j];
    return total;
  }

  data.decode = (arm, seed, z) => Array.from(decode(members[arm][seed], z));
  data.populations = populations;
  const root = document.getElementById("explorer");
  if (!root) return;

  const state = { z: data.start.slice(), arm: data.arms.length - 1, seed: 0 };
  const element = (name, parent, properties = {}) => parent.appendChild(Object.assign(document.createElement(name), properties));
  const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");

  function draw(canvas, image) {
    const context = canvas.getContext("2d");
    if (!data.picture) {
      [canvas.width, canvas.height] = [240, 160];
      context.fillStyle = "white";
      context.fillRect(0, 0, 240, 160);
      context.beginPath();
      image.forEach((value, i) => context.lineTo((240 * (i + 0.5)) / image.length, 155 - 150 * value));
      context.stroke();
      return;
    }
    const [rows, columns] = data.picture;
    const pixels = context.createImageData((canvas.width = columns), (canvas.height = rows));
    const first = data.shape.length === 3 && data.shape[0] === 3 && data.shape[2] !== 3; // colours come first
    for (let i = 0; i < rows * columns; i++)
      for (let k = 0; k < 3; k++) {
        const value = data.picture.length === 2 ? 1 - image[i] : image[first ? k * rows * columns + i : 3 * i + k];
        pixels.data[4 * i + k] = 255 * value;
        pixels.data[4 * i + 3] = 255;
      }
    context.putImageData(pixels, 0, 0);
  }

  root.replaceChildren();
  const thumbs = data.arms.map((arm, a) => {
    const box = element("fieldset", root);
    element("legend", box, { textContent: arm.title[0].toUpperCase() + arm.title.slice(1) + ": seed" });
    const row = element("div", box, { className: "seeds" });
    const canvases = data.seeds.map((seed, s) => {
      const label = element("label", row);
      const input = element("input", label, { type: "radio", name: "member", checked: a === state.arm && s === state.seed });
      input.setAttribute("aria-label", `seed ${seed}, ${arm.title}`);
      input.addEventListener("change", () => {
        [state.arm, state.seed] = [a, s];
        show();
      });
      const canvas = element("canvas", label);
      element("span", label, { textContent: seed });
      return canvas;
    });
    return { canvases, differ: element("p", box) };
  });
  const both = element("div", root, { className: "both" });
  const left = element("div", both);
  const map = element("canvas", left, { className: "map", width: 840, height: 840, tabIndex: 0 });
  map.setAttribute("role", "application");
  map.setAttribute("aria-label", "Map of the latent plane; the arrow keys move the point");
  const edge = number(data.reach, 1);
  element("p", left, { textContent: `z₁ from −${edge} to ${edge} to the right, z₂ upwards.` });
  const right = element("div", both);
  const image = element("canvas", right, { className: "image" });
  image.setAttribute("role", "img");
  image.setAttribute("aria-label", "What is decoded at the point");
  const list = element("dl", right);
  const facts = ["Seed", "Place", "Energy", "Valley", "Nearest image"].map((name) => {
    element("dt", list, { textContent: name });
    return element("dd", list);
  });
  const title = element("p", right);
  const chart = element("div", right, { className: "bars" });
  chart.setAttribute("role", "img");
  const bars = Array.from({ length: data.bars }, () => element("div", chart));
  const axis = element("p", right);
  const spoken = element("p", root, { className: "spoken" });
  spoken.setAttribute("aria-live", "polite");

  const BLUES = [[8, 48, 107], [33, 113, 181], [107, 174, 214], [198, 219, 239], [247, 251, 255]];
  const shades = new Map();

  // The landscape in steps of half a kT, once for each member.
  function shade(member) {
    if (shades.has(member)) return shades.get(member);
    const size = 420;
    const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
    const pixels = canvas.getContext("2d").createImageData(size, size);
    for (let row = 0, at = 0; row < size; row++)
      for (let column = 0; column < size; column++, at += 4) {
        const step = Math.floor(2 * energyAt(member, column / (size - 1), 1 - row / (size - 1)));
        const place = (BLUES.length - 1) * Math.min(step / (2 * data.top - 1), 1);
        const low = Math.min(Math.floor(place), BLUES.length - 2);
        for (let k = 0; k < 3; k++)
          pixels.data[at + k] = BLUES[low][k] + (place - low) * (BLUES[low + 1][k] - BLUES[low][k]);
        pixels.data[at + 3] = 255;
      }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    shades.set(member, canvas);
    return canvas;
  }

  // In kT, between the points of the grid; u and v are parts of the map's sides.
  function energyAt(member, u, v) {
    const n = data.points;
    const [x, y] = [u * (n - 1), v * (n - 1)];
    const [i, j] = [Math.min(Math.floor(x), n - 2), Math.min(Math.floor(y), n - 2)];
    const at = (row, column) => member.energy[row * n + column];
    const below = at(j, i) + (x - i) * (at(j, i + 1) - at(j, i));
    const above = at(j + 1, i) + (x - i) * (at(j + 1, i + 1) - at(j + 1, i));
    return ((below + (y - j) * (above - below)) * data.top) / 255;
  }

  const across = (z) => (z / data.reach + 1) / 2;
  const onMap = (z) => [across(z[0]) * map.width, (1 - across(z[1])) * map.height];

  function circle(context, [x, y], radius, fill, stroke, width) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    if (fill) Object.assign(context, { fillStyle: fill }).fill();
    if (stroke) Object.assign(context, { strokeStyle: stroke, lineWidth: width }).stroke();
  }

  function drawMap(member, nearest) {
    const context = map.getContext("2d");
    context.drawImage(shade(member), 0, 0, map.width, map.height);
    const dot = (i) => onMap(member.dots.subarray(2 * i, 2 * i + 2));
    for (let i = 0; 2 * i < member.dots.length; i++) circle(context, dot(i), 6, data.colours[i], "white", 1.5);
    circle(context, dot(nearest), 11, null, "black", 3);
    Object.assign(context, { textAlign: "center", textBaseline: "middle", font: "bold 24px sans-serif" });
    member.minima.forEach((bottom, k) => {
      circle(context, onMap(bottom), 18, "white", "black", 2);
      context.fillStyle = "black";
      context.fillText(k + 1, ...onMap(bottom));
    });
    circle(context, onMap(state.z), 20, null, "black", 9);
    circle(context, onMap(state.z), 20, null, "#ffa90e", 5);
    circle(context, onMap(state.z), 4, "#ffa90e", "black", 2);
  }

  function show() {
    const member = members[state.arm][state.seed];
    const seed = data.seeds[state.seed];
    members.forEach((arm, a) => {
      const images = arm.map((own) => decode(own, state.z));
      images.forEach((own, s) => draw(thumbs[a].canvases[s], own));
      if (a === state.arm) draw(image, images[state.seed]);
      let differ = 0;
      for (let i = 0; i < images[0].length; i++) {
        const mean = images.reduce((sum, own) => sum + own[i], 0) / images.length;
        differ += Math.sqrt(images.reduce((sum, own) => sum + (own[i] - mean) ** 2, 0) / images.length);
      }
      thumbs[a].differ.textContent = `Here these seeds differ by ${number(differ / images[0].length, 3)}.`;
    });
    let [nearest, least] = [0, Infinity];
    for (let i = 0; 2 * i < member.dots.length; i++) {
      const distance = (member.dots[2 * i] - state.z[0]) ** 2 + (member.dots[2 * i + 1] - state.z[1]) ** 2;
      if (distance < least) [nearest, least] = [i, distance];
    }
    drawMap(member, nearest);
    const [u, v] = state.z.map(across);
    const cell = Math.round(v * (data.points - 1)) * data.points + Math.round(u * (data.points - 1));
    const energy = energyAt(member, u, v);
    const valley = member.basin[cell];
    const texts = [
      `${seed}, ${data.arms[state.arm].title}`,
      `z₁ = ${number(state.z[0])}, z₂ = ${number(state.z[1])}`,
      energy > data.top * 0.998 ? `above ${data.top} kT` : `${number(energy, 1)} kT`,
      `${valley + 1} of ${member.minima.length}, bottom at ${number(member.minima[valley][2], 1)} kT`,
      (data.names ? `class ${data.names[nearest]}, ` : "") + `${number(Math.sqrt(least))} away`,
    ];
    texts.forEach((text, k) => (facts[k].textContent = text));
    const widths = Array.from(member.widths.subarray(2 * nearest, 2 * nearest + 2));
    const levels = populations(state.z, widths, data.bars * data.levels);
    const sums = bars.map((_, k) => levels.slice(k * data.levels, (k + 1) * data.levels).reduce((a, b) => a + b, 0));
    const highest = Math.max(...sums);
    bars.forEach((bar, k) => (bar.style.height = `${(100 * sums[k]) / highest}%`));
    const last = data.bars * data.levels - 1;
    title.textContent = `Populations of levels 0 to ${last}; the highest bar is ${number(100 * highest, 0)} %`;
    axis.textContent = `Above level ${last}: ${number(100 * Math.max(0, 1 - sums.reduce((a, b) => a + b, 0)), 0)} %`;
    chart.setAttribute("aria-label", `${title.textContent}. ${axis.textContent}.`);
    clearTimeout(show.later);
    show.later = setTimeout(() => (spoken.textContent = `Seed ${texts.slice(0, 4).join("; ")}`), 500);
  }

  let waiting = false;
  function move(z) {
    state.z = z.map((value) => Math.min(Math.max(value, -data.reach), data.reach));
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      show();
    });
  }

  function follow(event) {
    const box = map.getBoundingClientRect();
    const part = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
    move(part.map((value) => (2 * value - 1) * data.reach));
  }
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    follow(event);
  });
  map.addEventListener("pointermove", (event) => {
    if (map.hasPointerCapture(event.pointerId)) follow(event);
  });
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  map.addEventListener("keydown", (event) => {
    const size = (event.shiftKey ? 5 : 1) * 0.1;
    if (event.key === "Home") move(data.start);
    else if (event.key in STEPS) move(state.z.map((value, k) => value + size * STEPS[event.key][k]));
    else return;
    event.preventDefault();
  });
  show();
})();
