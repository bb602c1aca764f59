"use strict";
// One page. The address holds the view (#runs?q=...&sort=...): every control writes it, every change of it draws.

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const EVERY = 2000; // milliseconds between two looks for news
const $ = id => document.getElementById(id);
const marked = new Set();
let at = null;      // id of the run that the keys j and k have come to
let version = -1;   // of what is shown
let table = null;   // the last answer to /api/runs
let drawing = 0;    // of several drawings on their way only the last may show

// -- the address ------------------------------------------------------------------------------------------------------

function view() {
  const [path, query] = location.hash.slice(1).split("?");
  const [name, argument] = (path || "runs").split("/");
  return {name, argument: argument && decodeURIComponent(argument), state: new URLSearchParams(query || "")};
}

function go(name, changes = {}, argument = "") {
  const state = view().state;
  for (const [key, value] of Object.entries(changes)) value ? state.set(key, value) : state.delete(key);
  const query = state.toString();
  location.hash = name + (argument ? "/" + encodeURIComponent(argument) : "") + (query ? "?" + query : "");
}

const set = changes => go(view().name, changes, view().argument);

// -- the server -------------------------------------------------------------------------------------------------------

async function ask(path, query = {}) {
  const given = Object.fromEntries(Object.entries(query).filter(([, value]) => value));
  const response = await fetch("/api/" + path + "?" + new URLSearchParams(given));
  if (!response.ok) throw new Error(response.statusText);
  const answer = await response.json();
  if (answer.error) throw new Error(answer.error);
  version = answer.version;
  return answer.content;
}

function complain(error) {
  $("message").textContent = error ? error.message : "";
  $("message").hidden = !error;
}

// -- elements ---------------------------------------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter(child => child != null));
  return made;
}

function choice(label, key, options, preset) {
  const chosen = view().state.get(key) ?? preset;
  const select = element("select", {id: "choice-" + key, onchange: event => set({[key]: event.target.value})},
    ...options.map(([value, text]) => element("option", {value, selected: value === chosen}, text ?? value)));
  return element("label", {}, label, select);
}

const number = (value, digits = Math.abs(value) < 1 ? 4 : 2) => value == null ? "" : Number(value).toLocaleString("en", {maximumFractionDigits: digits});
const duration = seconds => seconds == null ? "" : seconds < 90 ? Math.round(seconds) + " s" : seconds < 5400 ? number(seconds / 60, 1) + " min" : number(seconds / 3600, 1) + " h";
const ago = moment => moment == null ? "" : duration(Math.max(0, Date.now() / 1000 - moment)) + " ago";
const interval = found => found ? number(found.value) + (found.low == null ? "" : ` [${number(found.low)}, ${number(found.high)}]`) : "";
const same = (a, b) => a === b || (a == null && b == null);

// -- the table of runs ------------------------------------------------------------------------------------------------

const COLUMNS = {
  id: {title: "run", show: run => element("code", {}, run.id)},
  algo: {title: "algorithm"}, problem: {title: "task"},
  seeds: {title: "seeds", value: run => run.seed, show: run => run.seeds > 1 ? `${run.seed} to ${run.seed + run.seeds - 1}` : run.seed, number: true},
  state: {title: "state", show: run => element("span", {class: run.state, title: run.error ?? ""}, run.state)},
  progress: {title: "progress", value: run => run.step / (run.steps || 1), show: run => element("progress", {value: run.step / (run.steps || 1), title: `${number(run.step)} of ${number(run.steps)}`})},
  score: {title: "score", number: true, show: run => element("span", {title: (run.metric ?? "") + (run.lower_is_better ? ", lower is better" : "")}, number(run.score)),
    first: () => table.runs.some(run => run.lower_is_better) ? 1 : -1},
  seconds: {title: "time", number: true, show: run => duration(run.seconds)},
  host: {title: "host"},
  heartbeat: {title: "last sign", show: run => ago(run.heartbeat)},
};
const setting = key => ({title: key.replace(/^algo\./, ""), number: typeof table.runs.find(run => run[key] != null)?.[key] === "number"});
const column = key => COLUMNS[key] ?? setting(key);
const value = (run, key) => (column(key).value ?? (each => each[key]))(run);

function compareBy(key, way) {
  return (a, b) => {
    const [x, y] = [value(a, key), value(b, key)];
    if (x == null || y == null) return (x == null) - (y == null);
    return way * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, {numeric: true}));
  };
}

async function drawRuns(main, state) {
  table = await ask("runs", {q: state.get("q")});
  const extra = (state.get("columns") ?? table.keys.filter(key => !["seed", "seeds"].includes(key)).slice(0, 4).join(",")).split(",").filter(Boolean);
  const columns = [...Object.keys(COLUMNS), ...extra];
  const sort = state.get("sort") ?? "heartbeat", way = Number(state.get("way") ?? -1), group = state.get("group");
  const runs = [...table.runs].sort(compareBy(sort, way));
  const names = table.settings.filter(key => !(key in COLUMNS));
  const head = element("tr", {}, ...columns.map(key => element("th", {
    class: column(key).number ? "number" : "", "data-key": key, "aria-sort": key === sort ? (way > 0 ? "ascending" : "descending") : false,
    onclick: () => set({sort: key, way: key === sort ? -way : column(key).first?.() ?? 1}),
  }, column(key).title + (key === sort ? (way > 0 ? " ▲" : " ▼") : ""))));
  const rows = [];
  const groups = new Map();
  for (const run of runs) {
    const name = group ? String(run[group] ?? "") : "";
    groups.set(name, [...(groups.get(name) ?? []), run]);
  }
  for (const [name, members] of groups) {
    if (group) {
      const scores = members.map(run => run.score).filter(score => score != null);
      const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
      const done = members.filter(run => run.state === "finished").length;
      rows.push(element("tr", {class: "group"}, element("td", {colspan: columns.length},
        `${group} = ${name}: ${members.length} runs, ${done} finished` + (scores.length ? `, mean of last scores ${number(mean)}` : ""))));
    }
    for (const run of members) rows.push(element("tr", {"data-id": run.id, class: marked.has(run.id) ? "marked" : "", onclick: () => go("run", {}, run.id)},
      ...columns.map(key => element("td", {class: column(key).number ? "number" : ""}, (column(key).show ?? (each => each[key] == null ? "" : String(each[key])))(run)))));
  }
  const counts = {};
  for (const run of table.runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
  const said = Object.entries(counts).map(([name, count]) => element("span", {class: name}, `${count} ${name} `));
  main.replaceChildren(
    element("div", {class: "bar"},
      element("span", {id: "count"}, `${table.runs.length} of ${table.total} runs: `, ...said),
      choice("group by", "group", [["", "nothing"], ...["algo", "problem", "state", "host", ...names].map(key => [key])], ""),
      element("label", {}, "columns", element("input", {id: "columns", list: "names", value: extra.join(","), size: 30,
        onchange: event => set({columns: event.target.value || ","})})),
      element("datalist", {id: "names"}, ...names.map(key => element("option", {value: key}))),
      element("button", {id: "diff", onclick: () => go("diff", {}, [...marked].join(",")), disabled: marked.size < 2}, `what differs (${marked.size} marked)`)),
    table.runs.length ? element("div", {class: "scroll"}, element("table", {id: "runs"}, element("thead", {}, head), element("tbody", {}, ...rows)))
      : element("p", {}, table.total ? "No run fits the filter." : `No runs in ${table.folder} yet: start one, and it appears here.`),
    ...Object.entries(table.damaged).map(([path, why]) => element("p", {class: "damaged"}, `damaged, left out: ${path}: ${why}`)));
  point(main);
}

function point(main) {
  for (const row of main.querySelectorAll("#runs tr[data-id]")) row.classList.toggle("at", row.dataset.id === at);
}

function move(by) {
  const rows = [...document.querySelectorAll("#runs tr[data-id]")];
  if (!rows.length) return;
  const now = rows.findIndex(row => row.dataset.id === at);
  const row = rows[Math.max(0, Math.min(rows.length - 1, now + by))];
  at = row.dataset.id;
  point(document);
  row.scrollIntoView({block: "nearest"});
}

function mark() {
  if (!at) return;
  marked.has(at) ? marked.delete(at) : marked.add(at);
  draw();
}

// -- charts -----------------------------------------------------------------------------------------------------------

function look(title, x, y) {
  const style = getComputedStyle(document.body);
  const axis = {gridcolor: "#8883", zerolinecolor: "#8886", automargin: true};
  return {
    title: {text: title, font: {size: 13}}, paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: {color: style.color, size: 11},
    margin: {l: 50, r: 10, t: 34, b: 40}, xaxis: {...axis, title: {text: x}}, yaxis: {...axis, title: {text: y}}, showlegend: false, hovermode: "closest",
  };
}

const plot = (where, traces, layout) => Plotly.react(where, traces, layout, {responsive: true, displaylogo: false});

function styles(names) {
  return Object.fromEntries(names.map((name, place) => {
    const round = Math.floor(place / COLOURS.length);
    return [name, {color: COLOURS[place % COLOURS.length], dash: DASHES[(place + round) % DASHES.length]}];
  }));
}

function legend(drawn) {
  const border = {solid: "solid", dash: "dashed", dot: "dotted", dashdot: "double"};
  return element("div", {class: "legend"}, ...Object.entries(drawn).map(([name, style]) =>
    element("span", {}, element("i", {style: `border-top-style: ${border[style.dash]}; border-color: ${style.color}`}), name)));
}

function band(curve, style) {
  const hidden = {x: curve.steps, mode: "lines", line: {width: 0}, hoverinfo: "skip"};
  return [
    {...hidden, y: curve.low}, {...hidden, y: curve.high, fill: "tonexty", fillcolor: style.color + "30"},
    {x: curve.steps, y: curve.value, mode: curve.steps.length > 1 ? "lines" : "markers", line: {...style, width: 2}, name: curve.arm,
      hovertemplate: `${curve.arm} (${curve.seeds} seeds): %{y:.4g} at %{x}<extra></extra>`},
  ];
}

async function drawCurves(main, state) {
  const known = await ask("runs", {q: state.get("q")});
  const metric = state.get("metric") ?? known.metrics.find(name => name === "eval/normalized_score") ?? known.metrics[0];
  const controls = element("div", {class: "bar"},
    choice("metric", "metric", known.metrics.map(name => [name]), metric),
    choice("lines by", "by", [["", "algorithm and settings"], ...known.settings.map(key => [key])], ""),
    choice("panels", "over", [["", "a task each"], ["tasks", "over all tasks"]], ""));
  if (!metric) return main.replaceChildren(controls, element("p", {}, "Nothing has been reported yet."));
  let found;
  try {
    found = await ask("curves", {q: state.get("q"), metric, by: state.get("by"), over: state.get("over")});
  } catch (error) {
    main.replaceChildren(controls);
    throw error;
  }
  const drawn = styles([...new Set(found.curves.map(curve => curve.arm))].sort());
  const tasks = [...new Set(found.curves.map(curve => curve.task))];
  const before = main.querySelectorAll(".chart");
  const panels = tasks.map((task, place) => before[place] ?? element("div", {class: "chart"}));
  main.replaceChildren(controls, legend(drawn), element("div", {class: "panels"}, ...panels),
    ...found.notes.map(note => element("p", {class: "quiet"}, note)),
    element("p", {class: "quiet"}, "Lines: mean over seeds (IQM over tasks). Bands: 95 %, bootstrap. Runs at work are drawn as far as they have come."));
  tasks.forEach((task, place) => plot(panels[place], found.curves.filter(curve => curve.task === task).flatMap(curve => band(curve, drawn[curve.arm])), look(task, "step", metric)));
}

// -- hyperparameters --------------------------------------------------------------------------------------------------

async function drawExplore(main, state) {
  table = await ask("runs", {q: state.get("q")});
  const keys = table.keys.filter(key => !["seed", "seeds"].includes(key));
  const x = state.get("x") ?? keys[0] ?? "seconds", colour = state.get("colour") ?? "algo";
  const runs = table.runs.filter(run => run.score != null);
  const controls = element("div", {class: "bar"},
    choice("across", "x", [...keys, "seconds", "seed", "algo", "problem"].map(key => [key]), x),
    choice("colour", "colour", ["algo", "problem", "state", ...keys].map(key => [key]), colour),
    choice("scale", "log", [["", "linear"], ["x", "logarithmic"]], ""));
  const scatter = element("div", {class: "chart tall", id: "scatter"});
  const axes = (state.get("axes") ?? keys.slice(0, 6).join(",")).split(",").filter(Boolean);
  const names = [...new Set(runs.map(run => String(run[colour])))].sort();
  const drawn = styles(names);
  main.replaceChildren(controls, legend(drawn), scatter, element("h2", {}, "Parallel coordinates"),
    element("div", {class: "bar"}, element("label", {}, "axes", element("input", {id: "axes", value: axes.join(","), size: 50, onchange: event => set({axes: event.target.value})}))),
    parallel(runs, [...axes, "score"], run => drawn[String(run[colour])].color));
  plot(scatter, names.map(name => {
    const members = runs.filter(run => String(run[colour]) === name);
    return {x: members.map(run => run[x]), y: members.map(run => run.score), text: members.map(run => `${run.id} ${run.algo} ${run.problem}`), name,
      mode: "markers", marker: {color: drawn[name].color, size: 7, opacity: .75}, customdata: members.map(run => run.id), hovertemplate: "%{text}<br>%{x}: %{y:.4g}<extra></extra>"};
  }), {...look("last score of each run", x, "score"), xaxis: {...look("", x, "").xaxis, type: state.get("log") ? "log" : undefined}});
  scatter.on?.("plotly_click", event => go("run", {}, event.points[0].customdata));
}

function parallel(runs, keys, colour) {
  const space = "http://www.w3.org/2000/svg", width = 1000, height = 400, top = 34, bottom = 376;
  const made = (name, attributes, text) => {
    const each = document.createElementNS(space, name);
    for (const [key, found] of Object.entries(attributes)) each.setAttribute(key, found);
    if (text != null) each.textContent = text;
    return each;
  };
  const svg = made("svg", {class: "parallel", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img"});
  const places = keys.map((key, place) => {
    const left = 60 + place * (width - 120) / Math.max(1, keys.length - 1);
    const values = runs.map(run => run[key]).filter(found => found != null);
    const numeric = values.length > 0 && values.every(found => typeof found === "number");
    const options = [...new Set(values.map(String))].sort();
    const [low, high] = numeric ? [Math.min(...values), Math.max(...values)] : [0, options.length - 1];
    const height = found => found == null ? null : bottom - (bottom - top) * (high > low ? ((numeric ? found : options.indexOf(String(found))) - low) / (high - low) : .5);
    svg.append(made("line", {x1: left, x2: left, y1: top, y2: bottom}), made("text", {x: left, y: 14, "text-anchor": "middle"}, column(key).title));
    const labels = numeric ? [[low, number(low, 6)], [high, number(high, 6)]] : options.map(option => [option, option]);
    for (const [found, text] of labels) svg.append(made("text", {x: left + 5, y: height(found) + 4}, text));
    return run => height(run[key]) == null ? null : `${left},${height(run[key])}`;
  });
  for (const run of runs) {
    const path = made("path", {d: "M" + places.map(each => each(run)).filter(Boolean).join("L"), stroke: colour(run)});
    path.append(made("title", {}, `${run.id} ${run.algo} ${run.problem}: ${number(run.score)}`));
    path.addEventListener("click", () => go("run", {}, run.id));
    svg.append(path);
  }
  return svg;
}

// -- comparison -------------------------------------------------------------------------------------------------------

function rows(head, body) {
  const cell = (name, found, place) => element(name, {class: place && typeof found !== "string" ? "number" : ""}, found == null ? "" : typeof found === "number" ? number(found) : found);
  return element("div", {class: "scroll"}, element("table", {}, element("thead", {}, element("tr", {}, ...head.map(text => element("th", {}, text)))),
    element("tbody", {}, ...body.map(row => element("tr", {}, ...row.map((found, place) => cell("td", found, place)))))));
}

async function drawCompare(main, state) {
  const known = await ask("runs", {q: state.get("q")});
  const controls = element("div", {class: "bar"},
    choice("protocol", "protocol", [["last", "last evaluation"], ["last10", "mean of the last 10"], ["tail20%", "last 20 % of training"], ["best", "best (too high)"]], "last"),
    choice("metric", "metric", [["", "what the runs are judged by"], ...known.metrics.filter(name => name.startsWith("eval/")).map(name => [name])], ""),
    choice("compare", "by", [["", "algorithms and settings"], ...known.settings.map(key => [key])], ""));
  let found;
  try {
    found = await ask("compare", {q: state.get("q"), protocol: state.get("protocol"), metric: state.get("metric"), by: state.get("by")});
  } catch (error) {
    main.replaceChildren(controls);
    throw error;
  }
  const figures = Object.values(found.figures).map(svg => {
    const figure = element("div", {class: "figure"});
    figure.append(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement);
    return figure;
  });
  const over = found.aggregates.length ? [element("h2", {}, `Over ${found.common.length} tasks`),
    rows(["", "mean", "median of tasks", "IQM", "optimality gap"], found.aggregates.map(each => [each.arm, interval(each.mean), interval(each.median), interval(each.iqm), interval(each.gap)]))] : [];
  main.replaceChildren(controls, element("p", {}, `${found.name}, ${found.title}; intervals: 95 %, bootstrap over seeds within each task`),
    element("ul", {id: "verdicts"}, ...found.pairs.map(pair => element("li", {class: pair.enough ? "finished" : "quiet"}, pair.words))), ...over,
    element("h2", {}, "Task by task"),
    rows(["task", "", "n", "mean", "IQM", "sd", "each seed"], [...found.cells].sort((a, b) => a.task.localeCompare(b.task) || found.arms.indexOf(a.arm) - found.arms.indexOf(b.arm)).map(each => [each.task, each.arm, each.n, interval(each.mean), interval(each.iqm), each.sd, Object.values(each.seeds).map(score => number(score)).join("  ")])),
    ...figures, ...found.notes.map(note => element("p", {class: "quiet"}, note)));
}

// -- one run, and what differs ----------------------------------------------------------------------------------------

async function drawRun(main, state, id) {
  const found = await ask("run", {id});
  const facts = Object.entries(found.facts).filter(([, fact]) => fact != null);
  const names = Object.keys(found.series).sort((a, b) => !a.startsWith("eval/") - !b.startsWith("eval/") || a.localeCompare(b));
  const charts = names.map(() => element("div", {class: "chart"}));
  const taken = Object.entries(found.system), small = taken.map(() => element("div", {class: "chart small"}));
  const opened = new Set([...main.querySelectorAll("details[open]")].map(each => each.id));
  const part = (name, title, ...content) => element("details", {id: name, open: opened.has(name)}, element("summary", {}, element("b", {}, title)), ...content);
  main.replaceChildren(
    element("p", {}, element("a", {href: "#runs?" + state}, "← runs")),
    element("h2", {}, `${found.facts.algo} on ${found.facts.problem}, `, element("span", {class: found.facts.state}, found.facts.state)),
    element("dl", {}, ...facts.flatMap(([key, fact]) => [element("dt", {}, key), element("dd", {}, key === "heartbeat" ? ago(fact) : key === "seconds" ? duration(fact) : String(fact))])),
    ...found.videos.map(name => element("video", {controls: true, src: "/file?" + new URLSearchParams({id, name})})),
    element("div", {class: "panels"}, ...charts),
    ...(taken.length ? [element("h2", {}, "What it takes of the machine"), element("div", {class: "panels", id: "system"}, ...small)] : []),
    element("details", {id: "log", open: opened.size ? opened.has("log") : true}, element("summary", {}, element("b", {}, "log")), element("pre", {}, found.log || "nothing yet")),
    part("config", "configuration", element("pre", {}, found.config)),
    part("meta", "where it comes from", element("pre", {}, JSON.stringify(found.meta, null, 1))),
    part("files", "files", element("pre", {}, Object.entries(found.files).map(([name, size]) => `${String(size).padStart(12)}  ${name}`).join("\n"))));
  names.forEach((name, place) => {
    const drawn = styles(Object.keys(found.series[name]));
    plot(charts[place], Object.entries(found.series[name]).map(([seed, line]) => ({x: line.steps, y: line.values, name: "seed " + seed,
      mode: line.steps.length > 1 ? "lines" : "markers", line: {...drawn[seed], width: 1.6}, hovertemplate: `seed ${seed}: %{y:.4g} at %{x}<extra></extra>`})), look(name, "step", ""));
  });
  taken.forEach(([name, line], place) => plot(small[place], [{x: line.at.map(at => new Date(1000 * at)), y: line.values, line: {color: COLOURS[0], width: 1.4},
    mode: line.at.length > 1 ? "lines" : "markers", hovertemplate: "%{y:.4g} at %{x|%H:%M:%S}<extra></extra>"}],
    {...look(took(name), "", ""), margin: {l: 44, r: 8, t: 26, b: 22}, yaxis: {...look("", "", "").yaxis, rangemode: "tozero"}}));
}

const took = name => name.replace("system/", "").replaceAll("_", " ").replace("mib per second", "MiB a second").replace("mib", "MiB").replace("cpu", "CPU").replace("gpu", "GPU");

async function drawDiff(main, state, ids) {
  const found = await ask("diff", {ids});
  main.replaceChildren(element("p", {}, element("a", {href: "#runs?" + state}, "← runs")), element("h2", {}, "What differs"),
    Object.keys(found.differs).length ? rows(["key", ...found.ids], Object.entries(found.differs).map(([key, values]) => [key, ...values])) : element("p", {}, "Nothing."),
    element("p", {class: "quiet"}, `${found.same} keys are the same.`));
}

// -- drawing ----------------------------------------------------------------------------------------------------------

const VIEWS = {runs: drawRuns, curves: drawCurves, explore: drawExplore, compare: drawCompare, run: drawRun, diff: drawDiff};
let shown = "";

async function draw() {
  const {name, argument, state} = view();
  const mine = ++drawing;
  for (const link of document.querySelectorAll("nav a")) link.classList.toggle("on", link.dataset.view === name);
  if (document.activeElement !== $("filter")) $("filter").value = state.get("q") ?? "";
  const page = name + "/" + (argument ?? "");
  const main = page === shown ? $("main") : element("main");
  try {
    await (VIEWS[name] ?? drawRuns)(main, state, argument);
    complain(null);
  } catch (error) {
    complain(error);
  }
  if (mine !== drawing || page === shown) return;
  shown = page;
  main.id = "main";
  $("main").replaceWith(main);
  for (const chart of main.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(chart);
}

async function refresh() {
  try {
    const response = await fetch("/api/version");
    const {version: latest} = await response.json();
    $("live").textContent = "live";
    const typing = ["INPUT", "SELECT"].includes(document.activeElement?.tagName) && document.activeElement !== $("filter");
    if (latest !== version && !typing && !document.hidden) await draw();
  } catch {
    $("live").textContent = "the server has gone";
  }
  setTimeout(refresh, EVERY);
}

function theme(next) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = localStorage.getItem("theme") ?? (dark ? "dark" : "light");
  const chosen = next ? (now === "dark" ? "light" : "dark") : localStorage.getItem("theme");
  if (!chosen) return;
  localStorage.setItem("theme", chosen);
  document.documentElement.dataset.theme = chosen;
}

const KEYS = {
  "/": () => $("filter").focus(), 1: () => go("runs"), 2: () => go("curves"), 3: () => go("explore"), 4: () => go("compare"),
  j: () => move(1), k: () => move(-1), Enter: () => at && view().name === "runs" && go("run", {}, at), x: mark,
  d: () => marked.size > 1 && go("diff", {}, [...marked].join(",")), t: () => { theme(true); draw(); }, "?": () => $("keys").showModal(), Escape: () => go("runs"),
};

document.addEventListener("keydown", event => {
  const typing = ["INPUT", "SELECT", "BUTTON", "SUMMARY"].includes(event.target.tagName);
  if (event.key === "Escape" && event.target === $("filter")) return $("filter").blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || $("keys").open || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});
let pause;
$("filter").addEventListener("input", event => {
  clearTimeout(pause);
  pause = setTimeout(() => go(["run", "diff"].includes(view().name) ? "runs" : view().name, {q: event.target.value.trim()}), 250);
});
for (const link of document.querySelectorAll("nav a")) {
  link.tabIndex = 0;
  link.addEventListener("click", () => go(link.dataset.view));
}
$("theme").addEventListener("click", KEYS.t);
$("help").addEventListener("click", KEYS["?"]);
addEventListener("hashchange", draw);
theme(false);
draw().then(() => setTimeout(refresh, EVERY));
