// Draws the page from /v1/pipelines. Whatever comes from there is put on the page as text.
"use strict";

const REFRESH_MILLISECONDS = 5000;
const CALM_REASONS = new Set(["Paused", "Complete", "Stopped"]);
const WAIT_REASONS = new Set([
  "AgentNotReady", "AgentNotStarted", "CatchingUp", "CheckRunning", "Connecting", "Snapshotting",
]);
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

const rows = new Map();
let page = null;
let failedSince = null;

/** An element with classes and content; strings become text, never markup. */
function make(tag, classes, ...content) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...content.filter((part) => part !== null && part !== undefined));
  return element;
}

/** Changes text only where it differs, so that what a visitor selects stays selected. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${count < 10 && unit > 0 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

const number = (count) => (count === null || count === undefined ? "–" : count.toLocaleString("en"));
const condition = (item, kind) => item.conditions.find((one) => one.kind === kind);
const key = (item) => `${item.namespace}/${item.name}`;

/** "good", "wait", "calm" or "bad": how a pipeline is, in one word. */
function mood(item) {
  const ready = condition(item, "Ready");
  if (!ready || ready.status === "Unknown") return "wait";
  if (ready.status === "True") return "good";
  if (CALM_REASONS.has(ready.reason)) return "calm";
  return WAIT_REASONS.has(ready.reason) ? "wait" : "bad";
}

const ORDER = { bad: 0, wait: 1, good: 2, calm: 3 };

/** What the top of a chart stands for. Not less than ten seconds: little lag should look little. */
const ceiling = (lags) => Math.max(10, ...lags.values.map((value) => value ?? 0));

/** The lag's curve over the last half hour; gaps where nothing was known. */
function draw(svg, lags) {
  const { values, length } = lags;
  const top = ceiling(lags) * 1.05;
  const x = (index) => ((length - values.length + index) / (length - 1)) * 300;
  const y = (value) => 100 - (value / top) * 100;
  let line = "", area = "", start = null;
  const close = (end) => { if (start !== null) area += `L${x(end)} 100L${x(start)} 100Z`; start = null; };
  values.forEach((value, index) => {
    if (value === null) return close(index - 1);
    const point = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    line += (start === null ? "M" : "L") + point;
    area += (start === null ? "M" : "L") + point;
    // A single value between two gaps would be an invisible line.
    if (start === null && (values[index + 1] ?? null) === null) line += `h1.5`;
    if (start === null) start = index;
  });
  close(values.length - 1);
  if (svg.dataset.line === line) return;
  svg.dataset.line = line;
  svg.replaceChildren(
    shape("path", { class: "base", d: "M0 100H300" }),
    shape("path", { class: "area", d: area }),
    shape("path", { class: "line", d: line }),
  );
}

function chart() {
  return shape("svg", {
    class: "chart", viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img",
    "aria-label": "Lag over the last 30 minutes",
  });
}

/** The row of a pipeline, to be filled. */
function row() {
  const part = {
    details: make("details", "pipeline"), name: make("div", "name"), way: make("div", "way"),
    pill: make("span", "pill"), reason: make("span", "reason"), chart: chart(),
    lag: make("span"), rate: make("span"), bar: make("i"), copied: make("span", "copied"),
    more: make("div", "more"), item: null,
  };
  part.track = make("div", "bar", part.bar);
  part.details.append(
    make("summary", "row",
      make("div", "who", part.name, part.way),
      make("div", "state", part.pill, part.reason),
      make("div", "chartbox", part.chart),
      make("div", "number", make("span", "label", "Lag"), part.lag),
      make("div", "number", make("span", "label", "Rows/s"), part.rate),
      make("div", "", make("span", "label", "Copied"), part.track, part.copied)),
    part.more);
  part.details.addEventListener("toggle", () => {
    if (!part.details.open) return;
    explain(part);
    history.replaceState(null, "", `#${key(part.item)}`);
  });
  return part;
}

function fill(part, item) {
  if (!part.item) part.name.append(make("small", "", `${item.namespace}/`), item.name);
  part.item = item;
  const ready = condition(item, "Ready");
  const how = mood(item);
  const from = item.sourceKind ? `${item.sourceKind} ${item.source}` : item.source;
  say(part.way, `${from} → ${item.target ?? "?"}`);
  part.way.title = part.way.textContent;
  say(part.pill, item.phase ?? "Pending");
  part.pill.className = `pill ${how}`;
  const named = ready && (how === "good" ? "" : ready.reason);
  say(part.reason, !named || named === item.phase ? "" : named);
  part.reason.className = `reason ${how}`;
  part.pill.title = part.reason.title = ready?.message ?? "";
  draw(part.chart, item.lags);
  say(part.lag, duration(item.lag?.seconds));
  say(part.rate, number(item.rate?.rowsPerSecond));
  const percent = item.snapshot?.percent;
  part.track.hidden = percent === undefined;
  part.bar.style.width = `${percent ?? 0}%`;
  part.track.className = percent === 100 ? "bar done" : "bar";
  say(part.copied, percent === undefined ? "–" : `${percent} %`);
  if (part.details.open) explain(part);
}

/** What opens below a row: why it is as it is. Drawn again only when it has changed. */
function explain(part) {
  const { item, more } = part;
  const text = JSON.stringify(item);
  if (more.dataset.text === text) return;
  more.dataset.text = text;
  const ready = condition(item, "Ready");
  const big = chart();
  draw(big, item.lags);
  const { tables, snapshot } = item;
  const facts = [
    ["Position", item.position ?? "none yet"],
    ["Lag", item.lag ? `${duration(item.lag.seconds)}, ${item.lag.records == null ? `${bytes(item.lag.bytes)} of log` : `${item.lag.records} records`}` : "not known"],
    ["Copied", snapshot
      ? `${snapshot.tablesDone} of ${snapshot.tablesTotal} tables, ${number(snapshot.rowsCopied)} rows`
      : "not known"],
    ["Tables", tables
      ? `${number(tables.total)}, ${tables.streaming} streaming, ${tables.failed} waiting for a person`
      : "not known"],
    ["Refused records", number(item.deadLetters)],
  ];
  if (item.kafka) {
    const { topics, partitions, consumerLagRecords } = item.kafka;
    facts.push(["Kafka", `${number(topics)} topics, ${number(partitions)} partitions, ${number(consumerLagRecords)} records behind`]);
  }
  const list = make("dl", "facts");
  for (const [name, value] of facts) list.append(make("dt", "", name), make("dd", "", value));
  more.replaceChildren(
    make("p", "", ready?.message ?? "Nothing is known yet.", " ", ready ? since(ready.since) : null),
    make("div", "", make("h3", "", "Conditions"), conditions(item)),
    make("div", "",
      make("h3", "", "Lag"),
      make("div", "big", big, make("span", "top", duration(ceiling(item.lags))), make("span", "zero", "0"),
        make("span", "from", "30 min ago"), make("span", "to", "now")),
      make("h3", "", "Figures"), list));
}

function conditions(item) {
  const list = make("ul", "conditions");
  for (const one of item.conditions) {
    if (one.kind === "Ready") continue;
    // Of all conditions only this one is bad when it holds.
    const bad = one.kind === "PositionAtRisk" ? "True" : "False";
    const how = one.status === "Unknown" ? "" : one.status === bad ? "bad" : "good";
    list.append(make("li", "",
      make("span", "kind", one.kind), " ",
      make("span", `pill ${how}`, `${one.status}: ${one.reason}`),
      make("p", "", one.message, " ", since(one.since))));
  }
  return list;
}

function since(text) {
  const ago = (new Date(page.now) - new Date(text)) / 1000;
  const element = make("span", "", Number.isFinite(ago) ? `For ${duration(Math.max(0, ago))}.` : "");
  element.title = text;
  return element;
}

function show() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const troubled = $("troubled").checked;
  const items = [...page.pipelines].sort((one, other) =>
    ORDER[mood(one)] - ORDER[mood(other)] || (key(one) < key(other) ? -1 : 1));
  const fits = (item) => {
    if (troubled && ["good", "calm"].includes(mood(item))) return false;
    const ready = condition(item, "Ready");
    const text = [key(item), item.source, item.sourceKind, item.target, item.phase, ready?.reason,
      ready?.message].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const shown = items.filter(fits);
  const wanted = shown.map((item) => {
    const part = rows.get(key(item)) ?? row();
    rows.set(key(item), part);
    fill(part, item);
    return part.details;
  });
  const there = $("pipelines").children;
  if (there.length !== wanted.length || wanted.some((one, index) => there[index] !== one)) {
    $("pipelines").replaceChildren(...wanted);
  }
  const present = new Set(items.map(key));
  for (const name of rows.keys()) if (!present.has(name)) rows.delete(name);
  const nothing = items.length > 0 ? "No pipeline fits the filter."
    : page.operator.leads ? "There is no ReplicaSink yet. Once one is applied, it shows up here." : "";
  say($("nothing"), nothing);
  $("nothing").hidden = shown.length > 0 || nothing === "";
  $("head").hidden = shown.length === 0;
  summarise(items, shown.length);
  showSources(words);
  showEvents(words);
}

function summarise(items, shown) {
  const of = (how) => items.filter((item) => mood(item) === how).length;
  if (!page.operator.leads) return $("summary").replaceChildren("stands by");
  const parts = [make("strong", "", `${number(items.length)} pipeline${items.length === 1 ? "" : "s"}`)];
  const count = (how, text, classes) => { if (of(how)) parts.push(" · ", make("span", classes, `${of(how)} ${text}`)); };
  count("good", "ready", "");
  count("bad", "in trouble", "bad");
  count("wait", "on the way", "");
  count("calm", "at rest", "");
  if (shown !== items.length) parts.push(` · ${shown} shown`);
  const text = parts.map((part) => part.textContent ?? part).join("");
  if ($("summary").textContent !== text) $("summary").replaceChildren(...parts);
  document.title = of("bad") ? `(${of("bad")}) Sluice` : "Sluice";
}

function showSources(words) {
  const used = new Set(page.pipelines.map((item) => `${item.namespace}/${item.source}`));
  const idle = page.sources.filter((source) => !used.has(key(source))
    && words.every((word) => `${key(source)} ${source.kind} ${source.phase}`.toLowerCase().includes(word)));
  $("idle").hidden = idle.length === 0;
  $("sources").replaceChildren(...idle.map((source) => make("li", "",
    make("span", "name", key(source)), " ",
    make("span", `pill ${mood(source)}`, source.phase ?? "Pending"),
    make("p", "", condition(source, "Ready")?.message ?? ""))));
}

function showEvents(words) {
  const fits = (event) => {
    const text = `${key(event)} ${event.kind} ${event.reason} ${event.message}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const events = page.events.filter(fits).slice(0, 60);
  const items = events.map((event) => {
    const at = new Date(event.at);
    const time = make("time", "", at.toLocaleTimeString("en-GB"));
    time.dateTime = event.at;
    time.title = event.at;
    return make("li", "", time, make("div", "",
      make("span", "name", key(event)), " ",
      make("span", `pill ${event.warning ? "bad" : ""}`, event.reason),
      make("p", "", event.message)));
  });
  const none = page.operator.leads ? "Nothing since this operator took over." : "–";
  $("events").replaceChildren(...(items.length ? items : [make("li", "empty", none)]));
}

/** Opens the pipeline that the address names, such as /#prod/shop-pg. */
function open() {
  const part = rows.get(decodeURIComponent(location.hash.slice(1)));
  if (!part) return;
  part.details.open = true;
  part.details.scrollIntoView({ block: "center" });
}

/** What a visitor should know before trusting the page. */
function warn() {
  let text = "", bad = false;
  if (failedSince) {
    bad = true;
    text = `The operator does not answer since ${failedSince.toLocaleTimeString("en-GB")}. What you see is as old as that; agents go on without it.`;
  } else if (page && !page.operator.leads) {
    text = `This operator (${page.operator.identity}) stands by: another one leads and knows the pipelines. Ask that one, or kubectl get replicasinks -A.`;
  }
  $("notice").hidden = text === "";
  $("notice").className = bad ? "bad" : "";
  $("notice").replaceChildren(make("span", "", text));
}

async function refresh() {
  try {
    const response = await fetch("/v1/pipelines", { cache: "no-store" });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    const first = page === null;
    page = await response.json();
    failedSince = null;
    show();
    if (first) open();
    say($("footer"), `Sluice ${page.operator.version}, operator ${page.operator.identity}. Read at ${new Date(page.now).toLocaleTimeString("en-GB")}; read again every ${REFRESH_MILLISECONDS / 1000} s.`);
  } catch (error) {
    failedSince ??= new Date();
    console.error(error);
  }
  warn();
}

async function run() {
  // Nobody looks: nothing is asked. Whoever comes back sees the present at once.
  if (!document.hidden || !page) await refresh();
  setTimeout(run, REFRESH_MILLISECONDS);
}

for (const id of ["filter", "troubled"]) $(id).addEventListener("input", () => { if (page) show(); });
window.addEventListener("hashchange", open);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
run();
