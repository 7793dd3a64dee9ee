// The picture: one canvas per layer, each with the pixels of its own grid, stacked by the browser.

const BATCH_BYTES = 96 * 2 ** 20; // decoded pictures that a layer keeps
const DRAWN_FORMS = ["picture", "heat", "flow", "arrows"];

// Items of one layer: whole batches while playing, single items to answer a jump at once.
class Items {
  constructor(video, layer) {
    this.video = video;
    this.layer = layer;
    this.batches = new Map();
    this.singles = new Map();
    this.loading = new Map();
    const [height, width] = layer.grid;
    this.most = Math.max(3, Math.floor(BATCH_BYTES / (height * width * 4 * layer.batch)));
    this.closed = false;
  }

  // Item that belongs to a frame; -1 for none.
  of(frame) {
    const first = this.layer.first_frames;
    if (!first) return frame < this.layer.items ? frame : -1;
    let low = -1;
    let high = first.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (first[middle] <= frame) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  peek(item, exact) {
    if (item < 0) return null;
    if (this.singles.has(item)) return this.singles.get(item);
    if (exact && this.layer.quick) return undefined;
    const batch = this.batches.get(Math.floor(item / this.layer.batch));
    return batch ? batch[item % this.layer.batch] ?? null : undefined;
  }

  single(item) {
    return this.fetch(`one ${item}`, item, item + 1, true).then((parts) => {
      if (!parts) return;
      this.singles.set(item, parts[0] ?? null);
      for (const old of [...this.singles.keys()].slice(0, -4)) {
        this.release(this.singles.get(old));
        this.singles.delete(old);
      }
    });
  }

  batch(number, signal) {
    if (number < 0 || number * this.layer.batch >= this.layer.items) return Promise.resolve();
    if (this.batches.has(number)) {
      const kept = this.batches.get(number); // used last
      this.batches.delete(number);
      this.batches.set(number, kept);
      return Promise.resolve();
    }
    const start = number * this.layer.batch;
    return this.fetch(`batch ${number}`, start, start + this.layer.batch, !this.layer.quick, signal).then((parts) => {
      if (!parts || this.batches.has(number)) return;
      this.batches.set(number, parts);
      while (this.batches.size > this.most) {
        const [old] = this.batches.keys();
        this.batches.get(old).forEach((part) => this.release(part));
        this.batches.delete(old);
      }
    });
  }

  fetch(key, start, stop, exact, signal) {
    if (!this.loading.has(key)) {
      const query = { video: this.video.video, v: this.video.version, array: this.layer.arrays[0], form: this.layer.form, start, stop, exact: exact ? 1 : 0 };
      const work = askBytes("/api/items", query, signal)
        .then((buffer) => Promise.all(unpacked(buffer).map((part) => (this.layer.form === "arrows" ? part : bitmap(part)))))
        .then((parts) => (this.closed ? void parts.forEach((part) => this.release(part)) : parts))
        .finally(() => this.loading.delete(key));
      this.loading.set(key, work);
    }
    return this.loading.get(key);
  }

  release(part) {
    if (part && part.close) part.close();
  }

  close() {
    this.closed = true;
    for (const part of [...this.batches.values()].flat()) this.release(part);
    this.singles.forEach((part) => this.release(part));
  }
}

// Points of 512 frames at a time.
class Points {
  constructor(video, layer) {
    this.video = video;
    this.layer = layer;
    this.parts = new Map();
    this.loading = new Map();
  }

  load(frame) {
    const number = Math.floor(frame / POINT_FRAMES);
    if (frame < 0 || this.parts.has(number)) return Promise.resolve();
    if (!this.loading.has(number)) {
      const start = number * POINT_FRAMES;
      const stop = Math.min(this.video.frames, start + POINT_FRAMES);
      const query = { video: this.video.video, v: this.video.version, stage: this.layer.stage, start, stop };
      const work = askBytes("/api/points", query)
        .then((buffer) => {
          const frames = stop - start;
          const count = new Int32Array(buffer, 0, frames + 1)[frames];
          const at = 4 * (frames + 1);
          this.parts.set(number, {
            offset: new Int32Array(buffer, 0, frames + 1),
            x: new Float32Array(buffer, at, count),
            y: new Float32Array(buffer, at + 4 * count, count),
            subject: new Int16Array(buffer, at + 8 * count, count),
          });
        })
        .finally(() => this.loading.delete(number));
      this.loading.set(number, work);
    }
    return this.loading.get(number);
  }

  // Points of a frame as [x, y, subject]; none before they are loaded.
  *of(frame) {
    const part = this.parts.get(Math.floor(frame / POINT_FRAMES));
    if (frame < 0 || !part) return;
    const row = frame % POINT_FRAMES;
    for (let n = part.offset[row]; n < part.offset[row + 1]; n++) yield [part.x[n], part.y[n], part.subject[n]];
  }
}
const POINT_FRAMES = 512;

const stage = {
  items: new Map(), // layer id -> Items
  points: new Map(),
  masks: new Map(), // layer id -> Float32Array, 1 where a frame counts
  problems: new Map(),
  panels: [],
  scales: new Map(),
  wanted: -1,
  shown: -1,
  dirty: false,
  busy: false,
  prefetchTimer: 0,
  ahead: new AbortController(),

  reset() {
    this.items.forEach((items) => items.close());
    for (const kept of [this.items, this.points, this.masks, this.problems, this.scales]) kept.clear();
    this.shown = -1;
    this.exactShown = false;
  },

  shownLayers() {
    return state.video ? state.video.layers.filter((layer) => state.layers.get(layer.id)?.on) : [];
  },

  itemsOf(layer) {
    if (!this.items.has(layer.id)) this.items.set(layer.id, new Items(state.video, layer));
    return this.items.get(layer.id);
  },

  pointsOf(layer) {
    if (!this.points.has(layer.id)) this.points.set(layer.id, new Points(state.video, layer));
    return this.points.get(layer.id);
  },

  fail(layer, error) {
    if (error.name === "AbortError") return;
    if (error.changed) { refreshVideo(); return; }
    if (this.problems.get(layer.id) !== error.message) {
      this.problems.set(layer.id, error.message);
      layerPanel.problems();
    }
  },

  // The panels: one, or one per map and per motion side by side.
  layout() {
    const shown = this.shownLayers();
    const alone = state.compare ? shown.filter((layer) => ["heat", "flow"].includes(layer.form)) : [];
    const groups = alone.length > 1 ? alone.map((one) => shown.filter((layer) => layer === one || !alone.includes(layer))) : [shown];
    this.panels = groups.map((layers, n) => {
      const screen = element("div", { class: "screen" });
      const canvases = new Map();
      for (const layer of layers) {
        if (["picture", "heat", "flow"].includes(layer.form)) {
          const canvas = element("canvas", { width: layer.grid[1], height: layer.grid[0], "data-layer": layer.id });
          canvases.set(layer.id, canvas);
          screen.append(canvas);
        }
      }
      const over = element("canvas", { class: "over", role: "img", "aria-label": "Picture with layers" });
      screen.append(over);
      const caption = alone.length > 1 ? element("figcaption", { class: "cut" }, alone[n].id) : null;
      const figure = element("figure", { class: "panel" }, screen, caption);
      return { figure, screen, layers, canvases, over, captioned: Boolean(caption) };
    });
    $("panels").replaceChildren(...this.panels.map((panel) => panel.figure));
    this.opacities();
    this.resize();
  },

  opacities() {
    for (const panel of this.panels) {
      for (const [id, canvas] of panel.canvases) canvas.style.opacity = state.layers.get(id).opacity;
    }
    this.redraw();
  },

  // The columns that make the panels largest.
  resize() {
    if (!state.video || !this.panels.length) return;
    const [height, width] = state.video.source_size;
    const room = $("panels").getBoundingClientRect();
    const narrow = matchMedia("(max-width: 720px)").matches;
    const count = this.panels.length;
    const caption = this.panels[0].captioned ? 20 : 0;
    const most = narrow ? innerHeight * 0.5 : room.height;
    let best = [0, 0];
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const across = (room.width - 8 * (columns - 1)) / columns;
      const down = (most - 8 * (rows - 1)) / rows - caption;
      const side = Math.min(across, (down * width) / height);
      if (side > best[0]) best = [side, columns];
    }
    const side = Math.max(40, Math.floor(best[0]));
    for (const panel of this.panels) {
      panel.screen.style.width = `${side}px`;
      panel.screen.style.height = `${Math.round((side * height) / width)}px`;
      panel.figure.style.width = `${side}px`;
      const dense = devicePixelRatio || 1;
      panel.over.width = Math.round(side * dense);
      panel.over.height = Math.round(((side * height) / width) * dense);
      for (const canvas of panel.canvases.values()) canvas.classList.toggle("exact", side > 8 * canvas.width);
    }
    $("stage").style.setProperty("--shown", String(side));
    document.documentElement.style.setProperty("--stage", narrow ? `${$("stage").offsetHeight}px` : "0px");
    this.redraw();
  },

  // Draw a frame as soon as all its layers are there; of many calls only the latest counts.
  async show(frame) {
    this.wanted = frame;
    clearTimeout(this.prefetchTimer);
    this.ahead.abort(); // what is wanted now goes first
    if (this.busy) return;
    this.busy = true;
    const spinner = setTimeout(() => { $("spinner").hidden = false; }, 200);
    try {
      while (state.video && (this.wanted !== this.shown || this.dirty)) {
        this.dirty = false;
        const target = this.wanted;
        await this.load(target);
        if (state.video && target < state.video.frames) this.draw(target, true);
      }
    } finally {
      clearTimeout(spinner);
      $("spinner").hidden = true;
      this.busy = false;
    }
    this.prefetchTimer = setTimeout(() => this.around(this.shown), 250);
  },

  redraw() {
    this.dirty = true;
    if (!state.playing && state.video) this.show(this.wanted < 0 ? state.frame : this.wanted);
  },

  async load(frame) {
    await Promise.all(this.shownLayers().map(async (layer) => {
      try {
        if (DRAWN_FORMS.includes(layer.form)) {
          const items = this.itemsOf(layer);
          const item = items.of(frame);
          if (items.peek(item, true) === undefined) await items.single(item);
          if (layer.form === "arrows") await this.scale(layer);
        } else if (layer.form === "points") {
          const points = this.pointsOf(layer);
          await Promise.all([points.load(frame), points.load(frame - state.trail)]);
        } else {
          await this.mask(layer);
        }
        if (this.problems.delete(layer.id)) layerPanel.problems();
      } catch (error) {
        this.fail(layer, error);
      }
    }));
  },

  async mask(layer) {
    if (this.masks.has(layer.id)) return;
    const video = state.video;
    const whole = new Float32Array(video.frames);
    for (let start = 0; start < video.frames; start += 16384) {
      const stop = Math.min(video.frames, start + 16384);
      const query = { video: video.video, v: video.version, track: `scalar:${layer.id}`, start, stop };
      whole.set(new Float32Array(await askBytes("/api/line", query)), start);
    }
    if (state.video === video) this.masks.set(layer.id, whole);
  },

  scale(layer) {
    const array = layer.arrays[0];
    if (!this.scales.has(array)) {
      const query = { video: state.video.video, v: state.video.version, array };
      const work = askJson("/api/scale", query).then((scale) => { work.known = scale; return scale; });
      work.catch(() => this.scales.delete(array));
      this.scales.set(array, work);
    }
    return this.scales.get(array);
  },

  // Whether a frame can be drawn now.
  ready(frame) {
    return this.shownLayers().every((layer) => {
      if (this.problems.has(layer.id)) return true;
      if (DRAWN_FORMS.includes(layer.form)) {
        const items = this.itemsOf(layer);
        return items.peek(items.of(frame), false) !== undefined;
      }
      if (layer.form === "points") return this.pointsOf(layer).parts.has(Math.floor(frame / POINT_FRAMES));
      return true;
    });
  },

  // While stopped: load what a step to either side needs.
  around(frame) {
    if (!state.video || state.playing || frame < 0) return;
    this.ahead = new AbortController();
    for (const layer of this.shownLayers().filter((each) => DRAWN_FORMS.includes(each.form))) {
      const items = this.itemsOf(layer);
      const item = Math.max(0, items.of(frame));
      const batches = new Set([-2, 0, 2].map((step) => Math.floor((item + step) / layer.batch)));
      for (const number of batches) items.batch(number, this.ahead.signal).catch((error) => this.fail(layer, error));
    }
  },

  // Load what is needed next, in the direction of play.
  prefetch(frame, ahead = 2) {
    if (!state.video || frame < 0) return;
    for (const layer of this.shownLayers()) {
      if (DRAWN_FORMS.includes(layer.form)) {
        const items = this.itemsOf(layer);
        const item = items.of(Math.min(frame, state.video.frames - 1));
        const last = Math.max(0, item) + (layer.first_frames ? 1 : Math.ceil(state.speed)) * ahead * layer.batch;
        let first = Math.floor(Math.max(0, item) / layer.batch);
        for (; first * layer.batch <= last; first++) items.batch(first).catch((error) => this.fail(layer, error));
      } else if (layer.form === "points") {
        this.pointsOf(layer).load(Math.min(frame + 200, state.video.frames - 1)).catch((error) => this.fail(layer, error));
      }
    }
  },

  draw(frame, exact) {
    let whole = true;
    for (const panel of this.panels) {
      for (const layer of panel.layers) {
        const canvas = panel.canvases.get(layer.id);
        if (!canvas) continue;
        const items = this.itemsOf(layer);
        let part = items.peek(items.of(frame), exact);
        if (part === undefined && exact) part = items.peek(items.of(frame), false);
        if (layer.quick && !items.singles.has(items.of(frame))) whole = false;
        const pen = canvas.getContext("2d", { colorSpace: "srgb", willReadFrequently: false });
        pen.clearRect(0, 0, canvas.width, canvas.height);
        if (part) pen.drawImage(part, 0, 0);
      }
      this.drawOver(panel, frame);
    }
    this.shown = frame;
    document.body.dataset.frame = String(frame);
    const pictures = this.shownLayers().some((layer) => layer.form === "picture");
    $("quality").textContent = pictures ? (whole ? "exact pixels" : "playing JPEG") : "";
  },

  drawOver(panel, frame) {
    const pen = panel.over.getContext("2d");
    pen.clearRect(0, 0, panel.over.width, panel.over.height);
    for (const layer of panel.layers) {
      pen.globalAlpha = state.layers.get(layer.id).opacity;
      if (layer.form === "arrows") this.drawArrows(pen, layer, frame);
      if (layer.form === "points") this.drawPoints(pen, layer, frame);
      if (layer.form === "mask") this.drawMask(pen, layer, frame);
    }
    pen.globalAlpha = 1;
  },

  drawArrows(pen, layer, frame) {
    const items = this.itemsOf(layer);
    const part = items.peek(items.of(frame), false);
    const scale = this.scales.get(layer.arrays[0])?.known;
    if (!part || !scale) return;
    const [rows, columns] = new Uint16Array(part, 0, 2);
    const flow = new Float32Array(part.slice(4));
    const { width, height } = pen.canvas;
    const cell = Math.min(width / columns, height / rows);
    const gain = (1.15 * cell) / scale.high; // the fastest motion reaches about the next arrow
    pen.lineCap = "round";
    for (const [colour, thick] of [["#000a", cell / 7 + 2], ["#fff", cell / 11 + 0.6]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.beginPath();
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const n = 2 * (row * columns + column);
          let u = flow[n] * gain;
          let v = flow[n + 1] * gain;
          const length = Math.hypot(u, v);
          if (length < cell * 0.1) continue;
          if (length > 1.6 * cell) { u *= (1.6 * cell) / length; v *= (1.6 * cell) / length; }
          const x = ((column + 0.5) * width) / columns;
          const y = ((row + 0.5) * height) / rows;
          pen.moveTo(x, y);
          pen.lineTo(x + u, y + v);
          pen.moveTo(x + u - 0.35 * (u - 0.6 * v), y + v - 0.35 * (v + 0.6 * u));
          pen.lineTo(x + u, y + v);
          pen.lineTo(x + u - 0.35 * (u + 0.6 * v), y + v - 0.35 * (v - 0.6 * u));
        }
      }
      pen.stroke();
    }
  },

  drawPoints(pen, layer, frame) {
    const points = this.pointsOf(layer);
    const [sourceHeight, sourceWidth] = state.video.source_size;
    const { width, height } = pen.canvas;
    const radius = Math.max(3, width / 110);
    const place = (x, y) => [((x + 0.5) * width) / sourceWidth, ((y + 0.5) * height) / sourceHeight];
    const opacity = pen.globalAlpha;
    const hidden = (subject) => state.hiddenObservers.has(`${layer.id}/${layer.observers[subject]}`);
    const colour = (subject) => layer.colours[subject] || "#fff";
    if (state.trail) {
      const before = new Map(); // subject -> last place
      pen.lineWidth = Math.max(1, radius / 2.6);
      for (let k = Math.max(0, frame - state.trail); k <= frame; k++) {
        const here = new Map(); // subject -> sum of its points of this frame
        for (const [x, y, subject] of points.of(k)) {
          if (hidden(subject)) continue;
          const sum = here.get(subject) || [0, 0, 0];
          here.set(subject, [sum[0] + x, sum[1] + y, sum[2] + 1]);
        }
        for (const [subject, [x, y, count]] of here) {
          const [toX, toY] = place(x / count, y / count);
          const from = before.get(subject);
          if (from) {
            pen.globalAlpha = opacity * (0.15 + 0.75 * (1 - (frame - k) / (state.trail + 1)));
            pen.strokeStyle = colour(subject);
            pen.beginPath();
            pen.moveTo(from[0], from[1]);
            pen.lineTo(toX, toY);
            pen.stroke();
          }
          before.set(subject, [toX, toY]);
        }
      }
    }
    pen.globalAlpha = opacity;
    for (const [x, y, subject] of points.of(frame)) {
      if (hidden(subject)) continue;
      const [centreX, centreY] = place(x, y);
      pen.fillStyle = colour(subject);
      pen.strokeStyle = "#0c0c10";
      pen.lineWidth = Math.max(1, radius / 3.5);
      pen.beginPath();
      pen.arc(centreX, centreY, radius, 0, 7);
      pen.fill();
      pen.stroke();
    }
  },

  drawMask(pen, layer, frame) {
    const counts = this.masks.get(layer.id);
    if (!counts || counts[frame]) return;
    const { width, height } = pen.canvas;
    pen.fillStyle = "#000b";
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = "#fff";
    pen.textAlign = "center";
    pen.font = `${Math.max(12, width / 36)}px system-ui, sans-serif`;
    pen.fillText(`frame ${frame} does not count in ${layer.id}`, width / 2, height / 2, width * 0.94);
  },

  // All panels as one picture, at least as large as the source.
  async picture() {
    const boxes = this.panels.map((panel) => panel.figure.getBoundingClientRect());
    const left = Math.min(...boxes.map((box) => box.left));
    const top = Math.min(...boxes.map((box) => box.top));
    const across = Math.max(...boxes.map((box) => box.right)) - left;
    const down = Math.max(...boxes.map((box) => box.bottom)) - top;
    const screen = this.panels[0].screen.getBoundingClientRect();
    const zoom = clamp(Math.max(devicePixelRatio || 1, state.video.source_size[1] / screen.width), 1, 4);
    const canvas = element("canvas", { width: Math.round(across * zoom), height: Math.round(down * zoom) });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#14151a";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    for (const panel of this.panels) {
      const box = panel.screen.getBoundingClientRect();
      const at = [(box.left - left) * zoom, (box.top - top) * zoom, box.width * zoom, box.height * zoom];
      pen.fillStyle = "#343434";
      pen.fillRect(...at);
      for (const [id, drawn] of panel.canvases) {
        pen.globalAlpha = state.layers.get(id).opacity;
        pen.drawImage(drawn, ...at);
      }
      pen.globalAlpha = 1;
      const before = [panel.over.width, panel.over.height];
      [panel.over.width, panel.over.height] = [Math.round(at[2]), Math.round(at[3])];
      this.drawOver(panel, this.shown);
      pen.drawImage(panel.over, ...at);
      [panel.over.width, panel.over.height] = before;
      this.drawOver(panel, this.shown);
      if (panel.captioned) {
        pen.fillStyle = "#9a9dab";
        pen.font = `${12 * zoom}px system-ui, sans-serif`;
        pen.fillText(panel.figure.lastElementChild.textContent, at[0], at[1] + at[3] + 15 * zoom, at[2]);
      }
    }
    return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  },
};
