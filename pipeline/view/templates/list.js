// The list of videos: thumbnails when they become visible, search, sort.

const PAGE_ROWS = 120;
const NO_PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAAAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==";
const STATUS_CLASS = { quarantined: "bad", failed: "bad", partial: "warn", pending: "warn" };

const list = {
  all: [],
  shown: [],
  rendered: 0,
  version: "",
  scores: [],
  upToDate: {},
  rising: true,

  async load() {
    const made = await askJson("/api/videos", { known: this.version });
    if (made.unchanged) return;
    this.version = made.version;
    this.scores = made.scores;
    this.all = made.videos.map((row) => ({
      ...row,
      text: [row.video, row.split, row.status, row.reason, ...row.flags].join(" ").toLowerCase(),
    }));
    $("store-name").textContent = `${made.dataset} · ${made.store}`;
    $("store-name").title = made.store;
    document.title = `${made.dataset} · foveal view`;
    banner(made.problem);
    this.choices();
    this.filter(true);
    if (state.video) headline(state.video.video, state.video.split, state.video.about);
    if (made.stale) setTimeout(() => this.load().catch(() => {}), 700);
    if (made.scores.length) askJson("/api/evaluation").then((about) => { this.upToDate = about.up_to_date || {}; this.render(); }, () => {});
  },

  choices() {
    const sorts = [["video", "Name"], ["status", "Status"], ["seconds", "Length"], ["points", "Points"], ["flags", "Flags"]];
    this.scores.forEach((score, n) => sorts.push([`score:${n}`, `${score.contestant} · ${score.metric}`]));
    const fill = (select, options) => {
      const before = select.value;
      select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
      if (options.some(([value]) => value === before)) select.value = before;
    };
    fill($("sort"), sorts);
    const splits = [...new Set(this.all.map((row) => row.split || ""))].sort();
    fill($("split"), [["*", "All splits"], ...splits.map((split) => [`=${split}`, split || "no split"])]);
    $("split").hidden = splits.length < 2;
  },

  key(row) {
    const by = $("sort").value;
    if (by.startsWith("score:")) return row.scores[Number(by.slice(6))];
    if (by === "flags") return row.flags.length + (row.status === "complete" ? 0 : 100);
    return row[by];
  },

  filter(stay) {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const split = $("split").value;
    const sign = this.rising ? 1 : -1;
    this.shown = this.all
      .filter((row) => words.every((word) => row.text.includes(word)))
      .filter((row) => split === "*" || split === "" || `=${row.split || ""}` === split)
      .map((row) => [this.key(row), row])
      .sort(([a, first], [b, second]) => {
        const lacks = (a ?? null) === null;
        if (lacks !== ((b ?? null) === null)) return lacks ? 1 : -1; // unknown values come last
        const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
        return sign * order || first.video.localeCompare(second.video, "en", { numeric: true });
      })
      .map(([, row]) => row);
    const all = this.all.length;
    $("count").textContent = this.shown.length === all ? `${all.toLocaleString("en-US")} video${all === 1 ? "" : "s"}`
      : `${this.shown.length.toLocaleString("en-US")} of ${all.toLocaleString("en-US")} videos`;
    const none = $("no-videos");
    none.hidden = this.shown.length > 0;
    none.textContent = all ? "No video matches. Try fewer letters, or another split." : "The store has no videos yet. They appear here as they are built.";
    this.render(stay);
  },

  render(stay) {
    const rows = stay ? Math.max(this.rendered, PAGE_ROWS) : PAGE_ROWS;
    this.rendered = 0;
    $("videos").replaceChildren();
    if (!stay) $("videos").scrollTop = 0;
    this.more(rows);
  },

  more(rows = PAGE_ROWS) {
    const next = this.shown.slice(this.rendered, this.rendered + rows);
    $("videos").append(...next.map((row) => element("li", {}, this.row(row))));
    this.rendered += next.length;
    const last = $("videos").lastElementChild;
    if (this.rendered < this.shown.length && last) this.ends.observe(last);
  },

  row(row) {
    const image = element("img", { class: "thumb", alt: "", width: 76, height: 46, src: NO_PICTURE, "data-video": row.video });
    if (thumbnails.has(row.video)) image.src = thumbnails.get(row.video);
    else if (row.frames) this.sights.observe(image);
    const by = $("sort").value;
    const score = by.startsWith("score:") ? Number(by.slice(6)) : this.scores.findIndex((each) => each.metric === "nss");
    const under = [];
    if (row.status !== "complete") under.push(element("span", { class: STATUS_CLASS[row.status] || "" }, row.status));
    if (row.seconds !== null) under.push(element("span", {}, row.seconds < 100 ? `${row.seconds.toFixed(1)} s` : clockText(row.seconds, 0)));
    if (row.points !== null) under.push(element("span", { class: "cut" }, `${row.points.toLocaleString("en-US")} points`));
    if (row.flags.length) under.push(element("span", { class: "warn" }, `⚑ ${row.flags.length}`));
    const shown = [element("span", { class: "name cut" }, row.video)];
    if (row.split) shown.push(element("span", { class: "badge" }, row.split));
    if (score >= 0 && row.scores[score] !== null && row.scores[score] !== undefined) {
      const { contestant, metric } = this.scores[score];
      const old = this.upToDate[contestant] === false;
      shown.push(element("span", { class: "score", title: `${metric} of ${contestant}${old ? "; out of date: run foveal evaluate again" : ""}` }, element("small", {}, `${metric} `), `${row.scores[score].toFixed(2)}${old ? "*" : ""}`));
    }
    const title = [row.reason, ...row.flags].filter(Boolean).join("\n");
    return element(
      "button",
      { "data-video": row.video, title: title || null, "aria-current": state.video && state.video.video === row.video ? "true" : null, onclick: () => openVideo(row.video) },
      image,
      element("span", {}, element("span", { class: "top" }, ...shown), element("span", { class: "under" }, ...under)),
    );
  },

  mark(video) {
    for (const button of $("videos").querySelectorAll("button")) {
      if (button.dataset.video === video) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  },

  step(by) {
    const at = this.shown.findIndex((row) => state.video ? row.video === state.video.video : row.video === wantedVideo);
    const next = this.shown[clamp(at + by, 0, this.shown.length - 1)];
    if (next) openVideo(next.video);
    const button = next && [...$("videos").querySelectorAll("button")].find((each) => each.dataset.video === next.video);
    if (button) button.scrollIntoView({ block: "nearest" });
  },
};

const thumbnails = new Map();
const waiting = [];
let fetching = 0;

list.sights = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    list.sights.unobserve(target);
    waiting.push(target);
  }
  fetchThumbnails();
});
list.ends = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    list.ends.unobserve(target);
    list.more();
  }
});

// Two at a time, the latest first, so that the player need not wait for them.
async function fetchThumbnails() {
  while (fetching < 2 && waiting.length) {
    const image = waiting.pop();
    if (!image.isConnected) continue;
    fetching += 1;
    const video = image.dataset.video;
    ask("/api/thumbnail", { video })
      .then((answer) => (answer.status === 204 ? null : answer.blob()))
      .then((blob) => {
        if (!blob) return;
        thumbnails.set(video, URL.createObjectURL(blob));
        image.src = thumbnails.get(video);
      })
      .catch(() => {}) // the row has no picture; opening the video shows the error
      .finally(() => { fetching -= 1; fetchThumbnails(); });
  }
}

function openList(open) {
  $("list").classList.toggle("open", open);
  $("shade").hidden = !open;
  $("open-list").setAttribute("aria-expanded", String(open));
  if (open) $("search").focus();
}
