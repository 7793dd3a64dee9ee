// Requests to the server. Names of a store arrive as JSON and are shown only as text.

const $ = (id) => document.getElementById(id);

// Inside a notebook the browser keeps no cookie for this page: so the token stays in the link there.
const token = new URLSearchParams(location.search).get("token");
const framed = window.top !== window;
if (location.search && !framed) history.replaceState(null, "", location.pathname + location.hash);

class Refused extends Error {
  constructor(message, status, changed) {
    super(message);
    this.status = status;
    this.changed = changed;
  }
}

function address(path, query) {
  const given = Object.entries(query || {}).filter(([, value]) => value !== undefined && value !== null);
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

async function ask(path, query, signal) {
  const headers = token ? { Authorization: `token ${token}` } : {};
  let answer;
  try {
    answer = await fetch(address(path, query), { headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is foveal view still running?", 0, false);
  }
  if (!answer.ok) {
    const about = await answer.json().catch(() => ({}));
    throw new Refused(about.error || `The server answers ${answer.status}.`, answer.status, Boolean(about.changed));
  }
  return answer;
}

const askJson = async (path, query, signal) => (await ask(path, query, signal)).json();
const askBytes = async (path, query, signal) => (await ask(path, query, signal)).arrayBuffer();

// Several objects in one answer: their number, their lengths, their bytes.
function unpacked(buffer) {
  const view = new DataView(buffer);
  const count = view.getUint32(0, true);
  const parts = [];
  let at = 4 * (count + 1);
  for (let n = 0; n < count; n++) {
    const length = view.getUint32(4 * (n + 1), true);
    parts.push(buffer.slice(at, at + length));
    at += length;
  }
  return parts;
}

// A decoded picture, with exactly the stored values.
const bitmap = (bytes) =>
  createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "default" });

// An element with attributes and children; texts become text nodes, never markup.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

let toastTimer = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("shown"), 2200);
}

function banner(text) {
  $("banner").hidden = !text;
  $("banner").textContent = text || "";
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function clockText(seconds, digits = 2) {
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - 60 * minutes).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return `${minutes}:${rest}`;
}

function numberText(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}
