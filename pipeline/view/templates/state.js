// What is shown, and the link to it: #video=002&frame=130&layers=frames,density@0.6&compare=1

const state = {
  video: null, // manifest of the video shown
  seconds: new Float64Array(0), // presentation time of each frame
  frame: 0,
  playing: false,
  speed: 1,
  loop: false,
  compare: false,
  muted: true,
  trail: 12, // frames that a scanpath reaches back
  hiddenObservers: new Set(),
  layers: new Map(), // id -> {on, opacity}
  wantedLayers: null, // of the link, until a video is there
  range: [0, 1], // frames that the timelines show
};

const keep = {
  get(key) {
    try { return localStorage.getItem(`foveal-${key}`); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(`foveal-${key}`, value); } catch { /* a notebook may forbid it */ }
  },
};

function readLink(hash) {
  const found = {};
  for (const part of hash.slice(1).split("&")) {
    const at = part.indexOf("=");
    if (at > 0) found[part.slice(0, at)] = part.slice(at + 1);
  }
  const text = (name) => {
    try { return found[name] === undefined ? null : decodeURIComponent(found[name]); } catch { return null; }
  };
  const layers = found.layers === undefined ? null : new Map();
  for (const entry of (found.layers || "").split(",").filter(Boolean)) {
    let name;
    try { name = decodeURIComponent(entry); } catch { continue; }
    const at = name.lastIndexOf("@");
    const opacity = at > 0 ? Number(name.slice(at + 1)) : NaN;
    const known = Number.isFinite(opacity);
    layers.set(known ? name.slice(0, at) : name, known ? clamp(opacity, 0, 1) : null);
  }
  const frame = Number(text("frame"));
  const speed = Number(text("speed"));
  return {
    video: text("video"),
    frame: Number.isInteger(frame) && frame >= 0 ? frame : null,
    layers,
    compare: found.compare === undefined ? null : found.compare === "1",
    speed: SPEEDS.includes(speed) ? speed : null,
  };
}

function linkHash() {
  if (!state.video) return "";
  const layers = [...state.layers]
    .filter(([, layer]) => layer.on)
    .map(([id, layer]) => encodeURIComponent(layer.opacity < 1 ? `${id}@${layer.opacity}` : id).replaceAll("%3A", ":").replaceAll("%40", "@"));
  const parts = [`video=${encodeURIComponent(state.video.video)}`, `frame=${state.frame}`, `layers=${layers.join(",")}`];
  if (state.compare) parts.push("compare=1");
  if (state.speed !== 1) parts.push(`speed=${state.speed}`);
  return `#${parts.join("&")}`;
}

let linkTimer = 0;
function noteLink() {
  if (linkTimer) return;
  linkTimer = setTimeout(() => {
    linkTimer = 0;
    const hash = linkHash();
    if (hash && hash !== location.hash) history.replaceState(null, "", location.pathname + location.search + hash);
  }, 250);
}

const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2, 4, 8];

// Frame that is on the screen at a time; the last one that has begun.
function frameAt(seconds) {
  let low = 0;
  let high = state.seconds.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (state.seconds[middle] <= seconds + 1e-9) low = middle;
    else high = middle - 1;
  }
  return low;
}

const THEMES = ["auto", "light", "dark"];
function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const name = theme === "auto" ? "as in the system settings" : theme;
  $("theme").setAttribute("aria-label", `Colours: ${name}`);
  $("theme").title = `Colours: ${name}`;
  keep.set("theme", theme);
  document.dispatchEvent(new Event("recolour"));
}
