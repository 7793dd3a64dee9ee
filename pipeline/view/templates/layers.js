// Which layers are on, how opaque, and what their colours mean.

const GROUPS = [
  ["Picture", (layer) => layer.form === "picture"],
  ["Where people looked", (layer) => layer.form === "points" || (layer.form === "heat" && layer.role === "ground_truth")],
  ["Predictions", (layer) => layer.role === "prediction"],
  ["Motion", (layer) => layer.form === "flow" || layer.form === "arrows"],
  ["Masks", (layer) => layer.form === "mask"],
  ["Further arrays", () => true],
];
const DEFAULT_OPACITY = { picture: 1, heat: 0.75, flow: 0.85, arrows: 0.9, points: 1, mask: 1 };

// The colours of maps, as in previews and reports (matplotlib's inferno from 0.3 on).
const RAMP = "linear-gradient(90deg, #64156e, #932667 20%, #bb3754 36%, #dd513a 52%, #f3771a 66%, #fca50a 78%, #f6d746 90%, #fcffa4)";

const layerPanel = {
  // Settings of the layers: from the link, from the previous video, or the defaults.
  adopt(video) {
    const before = state.layers;
    const wanted = state.wantedLayers;
    state.layers = new Map();
    for (const layer of video.layers) {
      const usual = DEFAULT_OPACITY[layer.form];
      if (wanted) state.layers.set(layer.id, { on: wanted.has(layer.id), opacity: wanted.get(layer.id) ?? usual });
      else if (before.has(layer.id)) state.layers.set(layer.id, before.get(layer.id));
      else state.layers.set(layer.id, { on: Boolean(layer.shown), opacity: usual });
    }
    state.wantedLayers = null;
  },

  build() {
    const left = [...state.video.layers];
    const groups = [];
    for (const [title, belongs] of GROUPS) {
      const members = left.filter(belongs);
      members.forEach((layer) => left.splice(left.indexOf(layer), 1));
      if (members.length) groups.push(element("h3", {}, title), ...members.map((layer) => this.row(layer)));
    }
    if (!groups.length) groups.push(element("p", { class: "empty" }, "Nothing of this video can be drawn: only its timeline is complete."));
    $("layer-groups").replaceChildren(...groups);
    const missing = Object.entries(state.video.missing).map(([section, why]) => element("p", {}, `No ${section}: ${why}.`));
    $("missing").replaceChildren(...missing);
    this.problems();
  },

  row(layer) {
    const setting = state.layers.get(layer.id);
    const number = state.video.layers.indexOf(layer) + 1;
    const more = element("div", { class: "more" });
    const box = element("input", { type: "checkbox", checked: setting.on, onchange: () => this.toggle(layer.id, box.checked) });
    const name = layer.form === "arrows" ? `${layer.arrays[0]} as arrows` : layer.form === "flow" ? `${layer.id} as colour` : layer.id;
    const label = element("label", { title: number < 10 ? `Key ${number}` : null }, box, element("span", { class: "name" }, name), element("span", { class: "note" }, layer.note));
    const row = element("div", { class: "layer", "data-layer": layer.id }, label, more, element("p", { class: "problem", hidden: true }));
    this.details(layer, more);
    more.hidden = !setting.on;
    return row;
  },

  details(layer, more) {
    const setting = state.layers.get(layer.id);
    const percent = (value) => `${Math.round(100 * value)} %`;
    if (layer.form !== "mask") {
      more.append(this.slider("opacity", `Opacity of ${layer.id}`, 0, 1, 0.05, setting.opacity, percent, (value) => {
        setting.opacity = value;
        stage.opacities();
        noteLink();
      }));
    }
    if (layer.form === "heat") {
      const ramp = element("div", { class: "ramp" });
      ramp.style.background = RAMP;
      more.append(ramp, element("div", { class: "ends" }, element("span", {}, ""), element("span", {}, "")));
    }
    if (layer.form === "flow") more.append(element("div", { class: "wheel" }, element("i", { "aria-hidden": "true" }), element("span", {}, "")));
    if (layer.form === "points") this.observers(layer, more);
    if (setting.on) this.legend(layer, more);
  },

  slider(text, label, min, max, step, value, shown, changed) {
    const output = element("output", {}, shown(value));
    const input = element("input", { type: "range", min, max, step, value, "aria-label": label, oninput: () => {
      output.textContent = shown(Number(input.value));
      changed(Number(input.value));
    } });
    return element("div", { class: "slide" }, element("span", {}, text), input, output);
  },

  observers(layer, more) {
    more.append(this.slider("trail", "Frames that scanpaths reach back", 0, 60, 1, state.trail, (value) => (value ? `${value} fr` : "off"), (value) => {
      state.trail = value;
      keep.set("trail", String(value));
      stage.redraw();
    }));
    if (layer.observers.length < 2) return;
    const key = (name) => `${layer.id}/${name}`;
    const chips = element("div", { class: "chips", role: "group", "aria-label": `Observers of ${layer.id}` });
    layer.observers.forEach((name, n) => {
      const dot = element("i", {});
      dot.style.background = layer.colours[n];
      const chip = element("button", { "aria-pressed": String(!state.hiddenObservers.has(key(name))), title: "Show or hide; double-click shows only this one" }, dot, element("span", { class: "cut" }, name));
      chip.addEventListener("click", () => {
        const hidden = state.hiddenObservers;
        if (!hidden.delete(key(name))) hidden.add(key(name));
        refresh();
      });
      chip.addEventListener("dblclick", () => {
        const others = layer.observers.filter((each) => each !== name).map(key);
        const alone = others.every((each) => state.hiddenObservers.has(each));
        others.forEach((each) => (alone ? state.hiddenObservers.delete(each) : state.hiddenObservers.add(each)));
        state.hiddenObservers.delete(key(name));
        refresh();
      });
      chips.append(chip);
    });
    const refresh = () => {
      [...chips.children].forEach((chip, n) => chip.setAttribute("aria-pressed", String(!state.hiddenObservers.has(key(layer.observers[n])))));
      stage.redraw();
    };
    more.append(chips);
  },

  // Values at the ends of the colours.
  legend(layer, more) {
    if (layer.form !== "heat" && layer.form !== "flow") return;
    stage.scale(layer).then(({ low, high }) => {
      if (layer.form === "heat") {
        const [from, to] = more.querySelectorAll(".ends span");
        [from.textContent, to.textContent] = [numberText(low), numberText(high)];
      } else {
        more.querySelector(".wheel span").textContent = `direction; full colour from ${numberText(high)} px of its grid`;
      }
    }, (error) => stage.fail(layer, error));
  },

  toggle(id, on) {
    const setting = state.layers.get(id);
    if (!setting) return;
    setting.on = on;
    const row = this.find(id);
    row.querySelector("input[type=checkbox]").checked = on;
    const more = row.querySelector(".more");
    more.hidden = !on;
    if (on) this.legend(state.video.layers.find((layer) => layer.id === id), more);
    stage.problems.delete(id);
    this.problems();
    stage.layout();
    noteLink();
  },

  find(id) {
    return [...$("layer-groups").querySelectorAll(".layer")].find((row) => row.dataset.layer === id);
  },

  problems() {
    for (const row of $("layer-groups").querySelectorAll(".layer")) {
      const text = row.querySelector(".problem");
      text.textContent = stage.problems.get(row.dataset.layer) || "";
      text.hidden = !text.textContent;
    }
  },
};

// Values of the arrays under the pointer, while the video is stopped.
const pixel = {
  place: null,
  busy: false,

  point(event) {
    const panel = stage.panels.find((each) => each.screen.contains(event.target));
    if (!panel || !state.video) return this.leave();
    const box = panel.screen.getBoundingClientRect();
    this.place = [clamp((event.clientX - box.left) / box.width, 0, 1), clamp((event.clientY - box.top) / box.height, 0, 1)];
    this.read();
  },

  leave() {
    this.place = null;
    $("pixel").hidden = true;
  },

  async read() {
    if (this.busy || !this.place || state.playing || !state.video) return;
    this.busy = true;
    const [x, y] = this.place;
    const video = state.video;
    const frame = Math.max(0, stage.shown);
    const layers = stage.shownLayers().filter((layer) => ["picture", "heat", "flow"].includes(layer.form) && stage.itemsOf(layer).of(frame) >= 0);
    try {
      const rows = await Promise.all(layers.map(async (layer) => {
        const query = { video: video.video, v: video.version, array: layer.arrays[0], item: stage.itemsOf(layer).of(frame), x: x.toFixed(5), y: y.toFixed(5) };
        return [layer.id, (await askJson("/api/values", query)).values];
      }));
      if (this.place && state.video === video) {
        const [height, width] = video.source_size;
        const lines = [[`frame ${frame}`, `x ${Math.floor(Math.min(x, 0.99999) * width)}  y ${Math.floor(Math.min(y, 0.99999) * height)}`], ...rows.map(([id, values]) => [id, values.map(numberText).join("  ")])];
        $("pixel").replaceChildren(...lines.map(([name, text]) => element("div", {}, element("span", { class: "faint" }, name), element("span", {}, text))));
        $("pixel").hidden = false;
      }
    } catch {
      $("pixel").hidden = true; // the layers' own lines say what is wrong
    } finally {
      this.busy = false;
      const now = this.place;
      if (now && (now[0] !== x || now[1] !== y)) this.read();
    }
  },
};
