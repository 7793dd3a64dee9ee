// Timelines under the picture: one axis of frames for all, one playhead through all.

const SERIES = ["#4f8cff", "#e8833a", "#35b58b", "#c86bd6", "#d9b93b", "#e0566f", "#53b7d8", "#9aa06a"];
const TRACK_PX = 42;
const AXIS_PX = 22;

const tracks = {
  open: [], // {track, row, canvas, output, series: [{array, values, colour}], windows}
  closed: new Set(),
  run: 0,

  build() {
    this.run += 1;
    const remembered = keep.get("closed-tracks");
    if (remembered !== null) this.closed = new Set(remembered.split("\n"));
    const choice = state.video.tracks.map((track) => {
      const box = element("input", { type: "checkbox", checked: this.isOpen(track), onchange: () => {
        this.closed[box.checked ? "delete" : "add"](this.key(track));
        this.closed[box.checked ? "add" : "delete"](`+${this.key(track)}`);
        keep.set("closed-tracks", [...this.closed].join("\n"));
        this.rows();
      } });
      return element("label", {}, box, element("span", {}, track.title));
    });
    $("track-choice").replaceChildren(...choice);
    state.range = [0, state.video.frames];
    this.rows();
  },

  // Metrics come last: the server needs a moment to find them.
  async addScores(video) {
    try {
      const scores = await askJson("/api/scores", { video: video.video, v: video.version });
      if (state.video !== video || !scores.length) return;
      const after = video.tracks.findLastIndex((track) => /^(points|speed):/.test(track.id)) + 1;
      video.tracks.splice(after, 0, ...scores);
      const range = state.range;
      this.build();
      state.range = range;
      this.draw();
    } catch (error) {
      if (state.video === video && !error.changed) toast(`No metrics: ${error.message}`);
    }
  },

  key: (track) => track.id,

  // Of the metrics, only NSS is shown until others are chosen.
  isOpen(track) {
    if (this.closed.has(this.key(track))) return false;
    return !track.metric || track.metric === "nss" || this.closed.has(`+${this.key(track)}`);
  },

  rows() {
    const before = new Map(this.open.filter((each) => each.version === state.video.version).map((each) => [each.track.id, each]));
    this.open = state.video.tracks.filter((track) => this.isOpen(track)).map((track) => before.get(track.id) || this.row(track));
    this.axis = element("canvas", { height: AXIS_PX, role: "img", "aria-label": "Time" });
    const axis = element("div", { class: "track axis" }, element("div", { class: "label" }), this.axis);
    const rows = this.open.map((each) => each.row);
    if (!rows.length) rows.push(element("p", { class: "empty" }, state.video.tracks.length ? "All timelines are hidden; show them by Choose." : "No array of this video has a timeline yet."));
    $("rows").replaceChildren(axis, ...rows);
    for (const canvas of $("rows").querySelectorAll("canvas")) this.listen(canvas);
    this.draw();
    this.fill();
  },

  row(track) {
    const canvas = element("canvas", { height: TRACK_PX, role: "img", "aria-label": `${track.title}; click to jump` });
    const output = element("output", {}, "");
    const names = track.arrays || [null];
    const series = names.map((array, n) => ({ array, colour: SERIES[n % SERIES.length], values: new Float32Array(state.video.frames).fill(NaN), done: new Set(), low: Infinity, high: -Infinity }));
    const keys = track.arrays ? series.map((each) => {
      const dot = element("i", {});
      dot.style.background = each.colour;
      each.output = element("output", {}, "");
      return element("span", { class: "key", title: each.array }, dot, element("span", { class: "cut" }, each.array.replace(/^saliency_/, "")), each.output);
    }) : [];
    const label = element("div", { class: "label", title: track.note || null }, element("b", {}, track.title), ...keys, output);
    const row = element("div", { class: "track", "data-track": track.id }, label, canvas);
    return { track, row, canvas, output, series, version: state.video.version, problem: "" };
  },

  // Fetch the open timelines part by part, starting at the playhead.
  async fill() {
    this.run += 1;
    const run = this.run;
    const video = state.video;
    const live = () => this.run === run && state.video === video;
    const jobs = this.open.map((each) => (each.track.form === "windows" ? this.fillWindows(each, live) : this.fillLine(each, live)));
    await Promise.all(jobs);
  },

  // One request at a time, and none while the picture waits for its own.
  async turn() {
    for (;;) {
      const asking = this.asking;
      await Promise.resolve(asking).catch(() => {});
      if (stage.busy || player.stalled) await new Promise((resolve) => { setTimeout(resolve, 40); });
      else if (this.asking === asking) return;
    }
  },

  async fillWindows(each, live) {
    if (each.windows) return;
    try {
      const query = { video: state.video.video, v: state.video.version, starts: each.track.id.slice("windows:".length) };
      each.windows = await askJson("/api/windows", query);
    } catch (error) {
      this.fail(each, error);
    }
    if (live()) this.draw();
  },

  async fillLine(each, live) {
    const { frames, video, version } = state.video;
    const part = each.track.part;
    const count = Math.ceil(frames / part);
    while (live() && !each.problem) {
      const here = Math.floor(state.frame / part);
      let next = null;
      for (let away = 0; away < count && !next; away++) {
        for (const number of [here + away, here - away]) {
          const series = number >= 0 && number < count && each.series.find((one) => !one.done.has(number));
          if (series) { next = [number, series]; break; }
        }
      }
      if (!next) break;
      const [number, series] = next;
      await this.turn();
      if (!live()) break;
      const start = number * part;
      const stop = Math.min(frames, start + part);
      try {
        this.asking = askBytes("/api/line", { video, v: version, track: each.track.id, array: series.array, start, stop });
        const values = new Float32Array(await this.asking);
        series.values.set(values, start);
        series.done.add(number);
        for (const value of values) {
          if (value < series.low) series.low = value;
          if (value > series.high) series.high = value;
        }
      } catch (error) {
        this.fail(each, error);
        if (error.status === 0) await new Promise((resolve) => { setTimeout(resolve, 2000); });
      }
      if (live()) this.drawSoon();
    }
    each.complete = true;
  },

  fail(each, error) {
    if (error.changed) { refreshVideo(); return; }
    each.problem = error.message;
    each.row.querySelector(".label").classList.add("bad");
    each.output.textContent = error.message;
  },

  drawSoon() {
    if (this.soon) return;
    this.soon = requestAnimationFrame(() => { this.soon = 0; this.draw(); });
  },

  listen(canvas) {
    const frameOf = (event) => {
      const box = canvas.getBoundingClientRect();
      const [low, high] = state.range;
      return clamp(Math.floor(low + ((event.clientX - box.left) / box.width) * (high - low)), 0, state.video.frames - 1);
    };
    canvas.onpointerdown = (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      player.seek(frameOf(event));
    };
    canvas.onpointermove = (event) => {
      if (event.buttons & 1) player.seek(frameOf(event));
      else canvas.title = this.hint(frameOf(event), canvas);
    };
    canvas.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      if (event.shiftKey) this.pan(((event.deltaX || event.deltaY) / box.width) * (state.range[1] - state.range[0]));
      else this.zoom(Math.exp(event.deltaY * 0.004), (event.clientX - box.left) / box.width);
    };
  },

  hint(frame, canvas) {
    const each = this.open.find((one) => one.canvas === canvas);
    const values = each && each.track.form !== "windows" ? each.series.map((one) => `${one.array ? `${one.array} ` : ""}${numberText(one.values[frame])} ${each.track.unit}`.trim()) : [];
    return [`frame ${frame}, ${clockText(state.seconds[frame] || 0)}`, ...values].join("\n");
  },

  zoom(factor, share = null) {
    const [low, high] = state.range;
    const at = share === null ? clamp((state.frame + 0.5 - low) / (high - low), 0, 1) : share;
    const width = clamp((high - low) * factor, Math.min(20, state.video.frames), state.video.frames);
    const start = clamp(low + at * (high - low - width), 0, state.video.frames - width);
    state.range = [start, start + width];
    this.draw();
  },

  pan(frames) {
    const [low, high] = state.range;
    const start = clamp(low + frames, 0, state.video.frames - (high - low));
    state.range = [start, start + high - low];
    this.draw();
  },

  all() {
    state.range = [0, state.video.frames];
    this.draw();
  },

  // Keep the playhead in sight, show the values under it.
  moved() {
    if (!state.video) return;
    const [low, high] = state.range;
    if (state.frame < low || state.frame >= high) this.pan(state.frame - low - 0.05 * (high - low));
    else this.place();
    for (const each of this.open) {
      if (each.problem) continue;
      if (each.track.form === "windows") { this.drawTrack(each); continue; }
      for (const series of each.series) {
        const text = `${numberText(series.values[state.frame])} ${each.track.unit}`.trim();
        (series.output || each.output).textContent = text;
      }
    }
  },

  place() {
    if (!this.axis) return;
    const [low, high] = state.range;
    const base = $("tracks").getBoundingClientRect();
    const box = this.axis.getBoundingClientRect();
    const rows = $("rows").getBoundingClientRect();
    const share = (state.frame + 0.5 - low) / (high - low);
    const head = $("playhead");
    head.style.left = `${box.left - base.left + share * box.width}px`;
    head.style.top = `${rows.top - base.top + $("tracks").scrollTop}px`;
    head.style.height = `${rows.height}px`;
    head.hidden = !(share >= 0 && share <= 1);
  },

  draw() {
    if (!state.video || !this.axis) return;
    if (!this.paint) this.choosePaint();
    this.drawAxis();
    for (const each of this.open) this.drawTrack(each);
    this.moved();
    this.place();
  },

  choosePaint() {
    this.paint = {};
    for (const name of ["card", "faint", "line", "accent"]) {
      const probe = element("span", {});
      probe.style.color = `var(--${name})`;
      document.body.append(probe);
      this.paint[name] = getComputedStyle(probe).color;
      probe.remove();
    }
    this.paint.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  },

  pen(canvas, height) {
    const dense = devicePixelRatio || 1;
    const width = Math.max(10, canvas.clientWidth);
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(dense, dense);
    return [pen, width];
  },

  drawAxis() {
    const [pen, width] = this.pen(this.axis, AXIS_PX);
    const [low, high] = state.range;
    const begin = state.seconds[Math.floor(low)] || 0;
    const end = state.seconds[Math.min(state.video.frames - 1, Math.ceil(high))] || 0;
    const rough = Math.max(1e-3, (end - begin) / (width / 90));
    const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((each) => each >= rough) || 3600;
    pen.font = this.paint.font;
    pen.fillStyle = this.paint.faint;
    pen.strokeStyle = this.paint.line;
    for (let at = Math.ceil(begin / step) * step; at <= end; at += step) {
      const x = ((frameAt(at) + 0.5 - low) / (high - low)) * width;
      pen.fillRect(Math.round(x), AXIS_PX - 5, 1, 5);
      const text = clockText(at, step < 1 ? (step < 0.1 ? 2 : 1) : 0);
      const wide = pen.measureText(text).width;
      pen.fillText(text, clamp(x - wide / 2, 0, width - wide), AXIS_PX - 9);
    }
  },

  drawTrack(each) {
    const [pen, width] = this.pen(each.canvas, TRACK_PX);
    if (each.track.form === "windows") this.drawWindows(pen, width, each);
    else this.drawLines(pen, width, each);
  },

  drawLines(pen, width, each) {
    const [low, high] = state.range;
    const form = each.track.form;
    let floor = Math.min(...each.series.map((series) => series.low));
    let top = Math.max(...each.series.map((series) => series.high));
    const partial = each.series.some((series) => series.done.size < Math.ceil(state.video.frames / each.track.part));
    if (!(top >= floor)) {
      pen.font = this.paint.font;
      pen.fillStyle = this.paint.faint;
      pen.fillText(each.problem ? "" : partial ? "reading…" : "no values", 4, TRACK_PX / 2 + 4);
      return;
    }
    if (form === "steps" || form === "band" || floor > 0) floor = Math.min(0, floor);
    if (top === floor) top = floor + 1;
    const y = (value) => TRACK_PX - 4 - ((value - floor) / (top - floor)) * (TRACK_PX - 9);
    const perPixel = (high - low) / width;
    for (const series of each.series) {
      const colour = each.series.length > 1 ? series.colour : this.paint.accent;
      pen.fillStyle = colour;
      pen.strokeStyle = colour;
      if (perPixel >= 1 || form !== "line") {
        // A column of pixels, or of a frame, from its smallest to its largest value.
        const columns = perPixel >= 1 ? Math.floor(width) : Math.ceil(high - low) + 1;
        const points = [];
        for (let column = 0; column < columns; column++) {
          const first = perPixel >= 1 ? Math.floor(low + column * perPixel) : Math.floor(low) + column;
          const last = perPixel >= 1 ? Math.max(first + 1, Math.floor(low + (column + 1) * perPixel)) : first + 1;
          let least = Infinity;
          let most = -Infinity;
          let sum = 0;
          let count = 0;
          for (let frame = first; frame < last && frame < state.video.frames; frame++) {
            const value = series.values[frame];
            if (value !== value) continue;
            least = Math.min(least, value);
            most = Math.max(most, value);
            sum += value;
            count += 1;
          }
          if (!count) { points.push(null); continue; }
          const left = perPixel >= 1 ? column : (first - low) / perPixel;
          const wide = perPixel >= 1 ? 1 : Math.max(1, 1 / perPixel - (1 / perPixel > 4 ? 1 : 0));
          if (form === "steps") { pen.globalAlpha = 0.75; pen.fillRect(left, y(most), wide, Math.max(1, y(0) - y(most))); }
          else if (form === "band") { const half = Math.max(0.5, (most / top) * (TRACK_PX / 2 - 4)); pen.globalAlpha = 0.75; pen.fillRect(left, TRACK_PX / 2 - half, wide, 2 * half); }
          else { pen.globalAlpha = 0.22; pen.fillRect(left, y(most), wide, Math.max(1, y(least) - y(most))); }
          points.push([left + wide / 2, sum / count]);
        }
        pen.globalAlpha = 1;
        if (form === "line") this.stroke(pen, points.map((point) => point && [point[0], y(point[1])]));
      } else {
        const points = [];
        for (let frame = Math.max(0, Math.floor(low) - 1); frame <= high && frame < state.video.frames; frame++) {
          const value = series.values[frame];
          points.push(value === value ? [(frame + 0.5 - low) / perPixel, y(value)] : null);
        }
        this.stroke(pen, points);
      }
    }
    pen.globalAlpha = 1;
    pen.font = this.paint.font;
    pen.fillStyle = this.paint.faint;
    const text = form === "band" || (form === "steps" && top === 1) ? "" : `${numberText(top)} ${each.track.unit}`.trim();
    const wide = pen.measureText(text).width;
    pen.fillStyle = this.paint.card;
    pen.globalAlpha = 0.75;
    if (text) pen.fillRect(width - wide - 4, 0, wide + 4, 13);
    pen.globalAlpha = 1;
    pen.fillStyle = this.paint.faint;
    pen.fillText(text, width - wide - 2, 10);
    if (partial && !each.complete) {
      const share = each.series.reduce((sum, series) => sum + series.done.size, 0) / (each.series.length * Math.ceil(state.video.frames / each.track.part));
      pen.fillText(`${Math.round(100 * share)} %`, 2, 10);
    }
  },

  stroke(pen, points) {
    pen.lineWidth = 1.4;
    pen.lineJoin = "round";
    pen.beginPath();
    let down = false;
    for (const point of points) {
      if (!point) { down = false; continue; }
      if (down) pen.lineTo(...point);
      else { pen.moveTo(...point); pen.lineTo(point[0] + 0.01, point[1]); }
      down = true;
    }
    pen.stroke();
  },

  drawWindows(pen, width, each) {
    const { starts, length } = each.windows || { starts: [], length: null };
    const [low, high] = state.range;
    const x = (frame) => ((frame - low) / (high - low)) * width;
    const stride = starts.length > 1 ? Math.max(1, (starts[starts.length - 1] - starts[0]) / (starts.length - 1)) : 1;
    const lanes = length ? clamp(Math.ceil(length / stride), 1, 9) : 1;
    const tall = Math.min(8, (TRACK_PX - 8) / lanes);
    const dense = stride / ((high - low) / width) < 1.5;
    let inside = 0;
    for (let n = 0; n < starts.length; n++) {
      const end = starts[n] + (length || stride);
      const now = length ? state.frame >= starts[n] && state.frame < end : starts[n] <= state.frame && (starts[n + 1] ?? Infinity) > state.frame;
      inside += now ? 1 : 0;
      if (end < low || starts[n] > high || (dense && !now && n % Math.ceil(1.5 / (stride / ((high - low) / width))))) continue;
      pen.fillStyle = this.paint.accent;
      pen.globalAlpha = now ? 0.95 : 0.28;
      const left = x(starts[n]);
      pen.fillRect(left, 4 + (n % lanes) * tall, Math.max(1.2, x(end) - left - 1), Math.max(1, tall - 1));
    }
    pen.globalAlpha = 1;
    if (each.windows) each.output.textContent = `${inside} of ${starts.length.toLocaleString("en-US")} hold this frame${length ? `; ${length} frames each` : ""}`;
  },
};
