// The clock, the buttons and keys, and which video is open.

let wantedVideo = null;
const sound = $("sound");

const player = {
  base: 0, // seconds of the video at `since`
  since: 0,
  soundStart: 0,
  stalled: false,

  now() {
    return this.base + ((performance.now() - this.since) / 1000) * state.speed;
  },

  seek(frame) {
    if (!state.video) return;
    state.frame = clamp(Math.round(frame), 0, state.video.frames - 1);
    this.rebase();
    if (state.playing) this.sync(true);
    this.shown();
    if (!state.playing) stage.show(state.frame);
  },

  step(by) {
    this.pause();
    this.seek(state.frame + by);
  },

  rebase() {
    this.base = state.seconds[state.frame] || 0;
    this.since = performance.now();
  },

  play() {
    if (!state.video || state.playing) return;
    if (state.frame >= state.video.frames - 1) state.frame = 0;
    state.playing = true;
    this.rebase();
    this.sync(true);
    this.button();
    requestAnimationFrame(() => this.tick());
  },

  pause() {
    if (!state.playing) return;
    state.playing = false;
    sound.pause();
    this.button();
    stage.show(state.frame);
    noteLink();
  },

  tick() {
    if (!state.playing) return;
    let target = frameAt(this.now());
    const last = state.video.frames - 1;
    const end = state.seconds[last] + 1 / state.video.fps;
    if (this.now() >= end) {
      if (state.loop) { state.frame = 0; this.rebase(); this.sync(true); target = 0; }
      else { state.frame = last; this.pause(); this.shown(); return; }
    }
    stage.prefetch(target);
    if (stage.ready(target)) {
      if (this.stalled) { this.stalled = false; $("spinner").hidden = true; this.sync(true); }
      if (target !== stage.shown || stage.dirty) {
        stage.dirty = false;
        stage.wanted = target;
        stage.draw(target, false);
        state.frame = target;
        this.shown();
      }
      this.sync(false);
    } else {
      // The clock waits for the picture, so that every frame is shown.
      const wait = Math.min(target, Math.max(state.frame, 0) + 1);
      const at = stage.ready(wait) ? wait : target;
      this.base = state.seconds[at];
      this.since = performance.now();
      if (!this.stalled && at === target) { this.stalled = true; sound.pause(); $("spinner").hidden = false; }
    }
    requestAnimationFrame(() => this.tick());
  },

  // Let the sound follow the clock.
  sync(jump) {
    if (!sound.src || state.muted || !state.playing || this.stalled) { if (!sound.paused) sound.pause(); return; }
    const at = this.now() + this.soundStart;
    sound.playbackRate = clamp(state.speed, 0.1, 8);
    if (at < 0 || at >= (sound.duration || Infinity)) { sound.pause(); return; }
    if (jump || Math.abs(sound.currentTime - at) > 0.12) sound.currentTime = at;
    if (sound.paused) sound.play().catch(() => {});
  },

  setSpeed(speed) {
    const at = this.now();
    state.speed = speed;
    this.base = state.playing ? at : state.seconds[state.frame] || 0;
    this.since = performance.now();
    $("speed").value = String(speed);
    sound.playbackRate = clamp(speed, 0.1, 8);
    noteLink();
  },

  faster(by) {
    this.setSpeed(SPEEDS[clamp(SPEEDS.indexOf(state.speed) + by, 0, SPEEDS.length - 1)]);
  },

  button() {
    $("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    $("play").title = state.playing ? "Pause (space)" : "Play (space)";
    $("play").querySelector("use").setAttribute("href", state.playing ? "#i-pause" : "#i-play");
  },

  shown() {
    const at = state.seconds[state.frame] || 0;
    $("scrub").value = String(state.frame);
    $("scrub").setAttribute("aria-valuetext", `frame ${state.frame}, ${clockText(at)}`);
    if (document.activeElement !== $("frame") || state.playing) $("frame").value = String(state.frame);
    const last = state.seconds[state.seconds.length - 1] || 0;
    $("clock").textContent = `${clockText(at)} / ${clockText(last)}`;
    tracks.moved();
    noteLink();
  },

  async openSound() {
    sound.pause();
    sound.removeAttribute("src");
    const [name] = state.video.sounds;
    $("mute").hidden = !name;
    if (!name) return;
    const video = state.video;
    const query = { video: video.video, v: video.version, array: name };
    try {
      const about = await askJson("/api/sound/about", query);
      if (state.video !== video) return;
      this.soundStart = about.start_seconds;
      sound.src = address("/api/sound", framed && token ? { ...query, token } : query);
      this.showMute();
    } catch (error) {
      $("mute").hidden = true;
      toast(error.message);
    }
  },

  showMute() {
    $("mute").querySelector("use").setAttribute("href", state.muted ? "#i-mute" : "#i-sound");
    $("mute").setAttribute("aria-pressed", String(!state.muted));
    $("mute").title = state.muted ? "Sound is off (m)" : "Sound is on (m)";
  },
};

function say(title, text) {
  $("message").hidden = !title;
  $("message").replaceChildren(...(title ? [element("b", {}, title), text || ""] : []));
}

async function openVideo(video, moment = {}) {
  wantedVideo = video;
  openList(false);
  list.mark(video);
  let made;
  try {
    made = await askJson("/api/video", { video });
    if (wantedVideo !== video) return;
    const seconds = new Float64Array(await askBytes("/api/seconds", { video, v: made.version }));
    if (wantedVideo !== video) return;
    showVideo(made, seconds, moment);
  } catch (error) {
    if (wantedVideo !== video) return;
    if (error.changed) { openVideo(video, moment); return; }
    showNothing(video, error.message);
  }
}

function showVideo(made, seconds, moment) {
  player.pause();
  const again = state.video && state.video.video === made.video;
  stage.reset();
  state.video = made;
  state.seconds = seconds;
  if (!again) { state.frame = 0; state.hiddenObservers.clear(); }
  if (moment.layers) state.wantedLayers = moment.layers;
  if (moment.frame !== undefined && moment.frame !== null) state.frame = moment.frame;
  if (moment.frame > made.frames - 1) toast(`Frames 0 to ${made.frames - 1}; the link asks for ${moment.frame}`);
  state.frame = clamp(state.frame, 0, made.frames - 1);
  layerPanel.adopt(made);
  headline(made.video, made.split, made.about);
  $("scrub").max = String(made.frames - 1);
  $("frame").max = String(made.frames - 1);
  for (const id of ["first", "back", "play", "on", "last", "scrub", "frame", "export", "copy", "compare"]) $(id).disabled = false;
  say(made.layers.length ? "" : "Nothing to draw yet", "Only the timeline of this video is complete. What the build completes appears here without a reload.");
  layerPanel.build();
  stage.layout();
  tracks.build();
  player.openSound();
  tracks.addScores(made);
  player.seek(state.frame);
  list.mark(made.video);
  document.body.dataset.video = made.video;
}

function headline(video, split, about) {
  const row = list.all.find((each) => each.video === video);
  const status = row ? row.status : "complete";
  const reason = state.video && row ? row.reason : "";
  const badges = [];
  if (split) badges.push(element("span", { class: "badge" }, split));
  if (status !== "complete") badges.push(element("span", { class: `badge ${STATUS_CLASS[status] || ""}` }, status));
  $("title").replaceChildren(element("span", {}, video), ...badges);
  $("about").textContent = about;
  const flags = (row ? row.flags : []).map((flag) => element("li", {}, flag));
  if (reason) flags.unshift(element("li", { class: "bad" }, reason));
  $("flags").replaceChildren(...flags);
}

function showNothing(video, why) {
  player.pause();
  stage.reset();
  state.video = null;
  state.seconds = new Float64Array(0);
  delete document.body.dataset.video;
  delete document.body.dataset.frame;
  const row = list.all.find((each) => each.video === video);
  if (video) headline(video, row && row.split, "");
  else $("title").textContent = "No video";
  $("panels").replaceChildren();
  $("layer-groups").replaceChildren();
  $("missing").replaceChildren();
  $("rows").replaceChildren();
  $("track-choice").replaceChildren();
  $("playhead").hidden = true;
  $("mute").hidden = true;
  for (const id of ["first", "back", "play", "on", "last", "scrub", "frame", "export", "copy", "compare"]) $(id).disabled = true;
  failedAt = list.version;
  say(video ? "This video cannot be shown" : "Nothing to show", why);
}

let refreshing = false;
let failedAt = null; // version of the list when a video could not be shown
// After a build has replaced or added arrays: show the same moment again.
async function refreshVideo() {
  if (refreshing || !wantedVideo) return;
  refreshing = true;
  try {
    if (!state.video && list.version === failedAt) return; // nothing has happened since
    const known = state.video ? state.video.version : "";
    const made = await askJson("/api/video", { video: wantedVideo, known });
    if (!made.unchanged) await openVideo(wantedVideo, { frame: state.video ? state.frame : null });
  } catch {
    /* the next request reports the error */
  } finally {
    refreshing = false;
  }
}

async function look() {
  if (document.hidden) return;
  try {
    await list.load();
    await refreshVideo();
    if (!wantedVideo && list.shown.length) openVideo(list.shown[0].video);
    if (!$("banner").hidden && $("banner").dataset.lost) { banner(""); delete $("banner").dataset.lost; }
  } catch (error) {
    banner(error.message);
    $("banner").dataset.lost = "1";
  }
}

function toggleCompare() {
  state.compare = !state.compare;
  $("compare").setAttribute("aria-pressed", String(state.compare));
  stage.layout();
  noteLink();
}

function copyLink() {
  const link = location.origin + location.pathname + linkHash();
  const done = () => toast("Link to this moment copied");
  const shown = () => window.prompt("Link to this moment", link);
  if (navigator.clipboard) navigator.clipboard.writeText(link).then(done, shown);
  else shown();
}

async function savePicture() {
  if (!state.video || !stage.panels.length) return;
  const blob = await stage.picture();
  const name = `${state.video.video.replace(/[^\w.-]+/g, "_")}-frame-${state.frame}.png`;
  const anchor = element("a", { href: URL.createObjectURL(blob), download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
  toast(`Saved ${name}`);
}

function toggleSound() {
  if ($("mute").hidden) return;
  state.muted = !state.muted;
  keep.set("muted", state.muted ? "1" : "0");
  player.showMute();
  player.sync(true);
}

// The event has the new link even where noteLink has since replaced it by the link of the old moment.
function followLink(event) {
  const link = readLink(event ? new URL(event.newURL).hash : location.hash);
  if (link.speed) player.setSpeed(link.speed);
  if (link.compare !== null && link.compare !== state.compare) toggleCompare();
  if (link.video === null) return false;
  if (state.video && link.video === state.video.video) {
    if (link.layers) {
      state.wantedLayers = link.layers;
      layerPanel.adopt(state.video);
      layerPanel.build();
      stage.layout();
    }
    if (link.frame !== null) player.seek(link.frame);
  } else {
    openVideo(link.video, { frame: link.frame, layers: link.layers });
  }
  return true;
}

const KEYS = {
  " ": () => (state.playing ? player.pause() : player.play()),
  ArrowLeft: (event) => player.step(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => player.step(event.shiftKey ? 10 : 1),
  ArrowUp: () => list.step(-1),
  ArrowDown: () => list.step(1),
  Home: () => player.step(-Infinity),
  End: () => player.step(state.video ? state.video.frames : 0),
  "[": () => player.faster(-1),
  "]": () => player.faster(1),
  "/": () => { if (getComputedStyle($("list")).position === "fixed") openList(true); $("search").focus(); $("search").select(); },
  c: toggleCompare,
  l: copyLink,
  e: savePicture,
  m: toggleSound,
  "+": () => tracks.zoom(0.5),
  "=": () => tracks.zoom(0.5),
  "-": () => tracks.zoom(2),
  0: () => tracks.all(),
  "?": () => $("keys").showModal(),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const target = event.target;
  if (event.key === "Escape") { openList(false); target.blur(); return; }
  const typing = target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
  if (typing) return;
  // Arrow keys of sliders and the space key of buttons keep their meaning, except in the player.
  if (target.matches("input[type=range]") && target.id !== "scrub" && event.key.startsWith("Arrow")) return;
  if (target.matches("button, summary, input[type=checkbox]") && event.key === " " && target.id !== "play") return;
  if (/^[1-9]$/.test(event.key) && state.video) {
    const layer = state.video.layers[Number(event.key) - 1];
    if (layer) layerPanel.toggle(layer.id, !state.layers.get(layer.id).on);
    return;
  }
  const act = KEYS[event.key];
  if (!act || (!state.video && !["ArrowUp", "ArrowDown", "/", "?"].includes(event.key))) return;
  event.preventDefault();
  act(event);
}

function recoloured() {
  tracks.paint = null;
  tracks.draw();
}

function start() {
  $("speed").append(...SPEEDS.map((speed) => element("option", { value: String(speed) }, `${speed}×`)));
  $("speed").value = "1";
  const theme = keep.get("theme");
  applyTheme(THEMES.includes(theme) ? theme : "auto");
  state.muted = keep.get("muted") !== "0";
  if (keep.get("trail") !== null) state.trail = clamp(Number(keep.get("trail")) || 0, 0, 60);

  const click = (id, act) => $(id).addEventListener("click", act);
  click("play", KEYS[" "]);
  click("first", () => player.step(-Infinity));
  click("last", () => KEYS.End());
  click("back", () => player.step(-1));
  click("on", () => player.step(1));
  click("loop", () => { state.loop = !state.loop; $("loop").setAttribute("aria-pressed", String(state.loop)); });
  click("mute", toggleSound);
  click("compare", toggleCompare);
  click("copy", copyLink);
  click("export", savePicture);
  click("help", () => $("keys").showModal());
  click("theme", () => applyTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3]));
  click("open-list", () => openList(!$("list").classList.contains("open")));
  click("shade", () => openList(false));
  click("zoom-in", () => tracks.zoom(0.5));
  click("zoom-out", () => tracks.zoom(2));
  click("zoom-all", () => tracks.all());
  click("direction", () => {
    list.rising = !list.rising;
    $("direction").textContent = list.rising ? "↑" : "↓";
    $("direction").setAttribute("aria-label", list.rising ? "Ascending order; press for descending" : "Descending order; press for ascending");
    list.filter();
  });
  $("scrub").addEventListener("input", () => player.seek(Number($("scrub").value)));
  $("frame").addEventListener("change", () => { player.pause(); player.seek(Number($("frame").value) || 0); $("frame").value = String(state.frame); });
  $("speed").addEventListener("change", () => { player.setSpeed(Number($("speed").value)); $("speed").blur(); }); // keys are the player's again
  $("search").addEventListener("input", () => list.filter());
  $("search").addEventListener("keydown", (event) => { if (event.key === "Enter" && list.shown.length) openVideo(list.shown[0].video); });
  $("sort").addEventListener("change", () => list.filter());
  $("split").addEventListener("change", () => list.filter());
  $("stage").addEventListener("pointermove", (event) => pixel.point(event));
  $("stage").addEventListener("pointerleave", () => pixel.leave());
  document.addEventListener("keydown", pressed);
  document.addEventListener("recolour", recoloured);
  document.addEventListener("click", (event) => { const menu = document.querySelector(".menu[open]"); if (menu && !menu.contains(event.target)) menu.open = false; });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recoloured);
  addEventListener("hashchange", followLink);
  const resized = new ResizeObserver((entries) => {
    stage.resize();
    if (entries.some((entry) => entry.target.id !== "stage")) tracks.draw();
  });
  resized.observe(document.querySelector("main"));
  resized.observe($("stage"));
  document.addEventListener("visibilitychange", look);

  const asked = followLink();
  list.load().then(() => {
    if (!asked && list.shown.length) openVideo(list.shown[0].video);
    else if (!asked) showNothing(null, "The store has no videos yet.");
    else if (wantedVideo) list.mark(wantedVideo);
  }, (error) => { banner(error.message); $("banner").dataset.lost = "1"; });
  setInterval(look, 5000);
}

start();
