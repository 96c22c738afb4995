// The page of a local AI Gateway. It talks to /_gateway alone, and puts all data into text nodes:
// nothing of a prompt or a response is ever read as HTML.

const API = "/_gateway";
const ROW = 30; // pixels, as --row in page.css
const MARGIN = 12; // rows that are drawn above and below what is seen
const PAGE = 1000; // calls of one request
const MOST = 10000; // calls that are kept, as in the gateway

const $ = (id) => document.getElementById(id);

// Build an element: element("p", {class: "x", onclick: f}, "text", child)
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
}

async function ask(method, path, body) {
  const options = { method, headers: {}, cache: "no-store" };
  if (method === "POST" || method === "PATCH") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body ?? {});
  }
  const response = await fetch(API + path, options);
  const value = await response.json();
  if (!response.ok) throw new Error([value.error, ...value.reasons].join("\n"));
  return value;
}

// Ask, and show what went wrong in a toast.
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    toast(error instanceof TypeError ? "The gateway cannot be reached." : error.message);
    return undefined;
  }
}

let toastTimer;
function toast(text) {
  clearTimeout(toastTimer);
  $("toast").textContent = text;
  toastTimer = setTimeout(() => ($("toast").textContent = ""), 3500);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`Copied ${what}`);
  } catch {
    toast("The browser does not let this page copy");
  }
}

const button = (text, onclick, properties = {}) =>
  element("button", { type: "button", class: "small", onclick, ...properties }, text);

const copyButton = (text, what, label = "Copy") =>
  button(label, () => copy(text, what), { "aria-label": `Copy ${what}` });

const number = (value) => (value == null ? "–" : value.toLocaleString("en"));
const milliseconds = (value) =>
  value == null ? "–" : value < 10 ? value.toFixed(1) : number(Math.round(value));

function clock(iso) {
  const time = new Date(iso);
  const parts = [time.getHours(), time.getMinutes(), time.getSeconds()];
  const digits = (value, length) => String(value).padStart(length, "0");
  return `${parts.map((part) => digits(part, 2)).join(":")}.${digits(time.getMilliseconds(), 3)}`;
}

// ---------------------------------------------------------------- the list's data

let calls = []; // by id, oldest first
let shown = []; // those that fit the filter, newest first
let selected = null; // an id
let instance = null;
let awaited = null; // the address of a call that is sent again
let clearedAt = 0;

function addCalls(added) {
  const fresh = added.filter((call) => call.id > clearedAt);
  if (!fresh.length) return;
  const last = calls.length ? calls[calls.length - 1].id : 0;
  if (fresh[0].id > last) calls.push(...fresh);
  else {
    const known = new Set(calls.map((call) => call.id));
    calls = [...calls, ...fresh.filter((call) => !known.has(call.id))];
    calls.sort((one, other) => one.id - other.id);
  }
  if (calls.length > MOST) calls.splice(0, calls.length - MOST);
  draw();
}

function forgetCalls(upTo) {
  clearedAt = upTo;
  calls = calls.filter((call) => call.id > upTo);
  if (selected !== null && selected <= upTo) closeDetail();
  draw();
}

const FIELDS = {
  id: (call) => String(call.id),
  op: (call) => call.operation,
  model: (call) => call.model ?? "",
  status: (call) => String(call.status ?? "none"),
  cache: (call) => call.cache ?? "none",
  code: (call) => String(call.error?.code ?? ""),
  error: (call) => call.error?.message ?? "",
  fault: (call) => call.fault ?? "",
  client: (call) => call.client ?? "",
  meta: (call) => metadataText(call),
  is: (call) =>
    [
      ...[call.error && "error", call.streamed && "stream", call.fault && "fault"],
      ...[isCut(call) && "cut", !call.error && "ok"],
    ]
      .filter(Boolean)
      .join(" "),
};
// Whether its response stopped before its end, by the client, a fault or the provider.
const isCut = (call) => !call.complete || call.fault === "end_stream";
const EXACT = new Set(["id", "status", "code"]);

const metadataText = (call) =>
  Object.entries(call.metadata)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

function haystack(call) {
  call.haystack ??= [
    ...[call.operation, call.model, call.path, call.status, call.cache, call.prompt, call.answer],
    ...[call.error?.code, call.error?.message, metadataText(call)],
  ]
    .join(" ")
    .toLowerCase();
  return call.haystack;
}

// Return a test for what is typed: all words and all field:value pairs must fit.
function parseFilter(text) {
  const tests = text
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => {
      const [, name, value] = /^(\w+):(.+)$/.exec(word) ?? [];
      if (!FIELDS[name]) return (call) => haystack(call).includes(word);
      if (EXACT.has(name)) return (call) => FIELDS[name](call) === value;
      return (call) => FIELDS[name](call).toLowerCase().includes(value);
    });
  return (call) => tests.every((test) => test(call));
}

// ---------------------------------------------------------------- the list on the screen

const COLUMNS = [
  // Heading, class, what it shows. `medium`, `extra` and `wide` go first where it is narrow.
  ["Time", "time", timeParts],
  ["Operation", "operation", (call) => call.operation],
  ["Model", "dim", (call) => call.model ?? ""],
  ["Status", "status", statusParts],
  ["Cache", "medium", (call) => call.cache ?? ""],
  ["Tokens", "num wide medium", tokens],
  ["ms", "num", (call) => milliseconds(call.ms)],
  ["Try", "num wide extra dim", (call) => String(call.attempts)],
  ["Metadata", "wide extra", metadataText],
  ["Prompt or error", "text wide medium", (call) => (call.error ? errorText(call.error) : call.prompt)],
];

function timeParts(call) {
  const [whole, fraction] = clock(call.time).split(".");
  return [whole, element("span", { class: "fraction" }, `.${fraction}`)];
}

function statusParts(call, missing = "–") {
  const status = call.status == null ? missing : String(call.status);
  if (!isCut(call)) return [status];
  const title = call.error ? errorText(call.error) : "The response stopped before its end";
  return [`${status} `, element("span", { class: "tag cut", title }, "cut")];
}

function tokens(call) {
  if (call.tokens_in == null && call.tokens_out == null) return "";
  return `${number(call.tokens_in)} → ${number(call.tokens_out)}`;
}

const errorText = (error) => (error.code == null ? "" : `${error.code} · `) + error.message;

let drawn = new Map(); // id -> its row
let pending = false;

// Draw with the next frame, however many calls come until then.
function draw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    const before = shown.length ? shown[0].id : 0;
    const fits = parseFilter($("filter").value);
    shown = calls.filter(fits).reverse();
    $("spacer").style.height = `${shown.length * ROW}px`;
    const rows = $("rows");
    // Who has scrolled down keeps their place.
    if (rows.scrollTop > 0 && before) {
      const added = shown.findIndex((call) => call.id <= before);
      if (added > 0) rows.scrollTop += added * ROW;
    }
    drawRows(true);
    drawCounts();
  });
}

function drawCounts() {
  const filtered = $("filter").value.trim() !== "";
  $("count-calls").textContent = number(calls.length);
  $("shown").textContent = filtered ? `${number(shown.length)} of ${number(calls.length)}` : "";
  $("empty-calls").hidden = shown.length > 0;
  $("empty-title").textContent = calls.length ? "No call fits the filter" : "No call yet";
  $("empty-text").textContent = calls.length
    ? "Press Escape in the filter to see all calls."
    : "Point your application here, and each call shows up as it ends.";
  $("empty-env").hidden = $("empty-link").hidden = calls.length > 0;
}

function drawRows(anew) {
  const rows = $("rows");
  const first = Math.max(Math.floor(rows.scrollTop / ROW) - MARGIN, 0);
  const last = Math.min(Math.ceil((rows.scrollTop + rows.clientHeight) / ROW) + MARGIN, shown.length);
  const kept = new Map();
  for (let index = first; index < last; index++) {
    const call = shown[index];
    let row = drawn.get(call.id);
    if (!row) {
      row = makeRow(call);
      rows.append(row);
    }
    row.style.transform = `translateY(${index * ROW}px)`;
    row.setAttribute("aria-rowindex", index + 1);
    row.setAttribute("aria-selected", call.id === selected);
    kept.set(call.id, row);
  }
  for (const [id, row] of drawn) if (!kept.has(id)) row.remove();
  drawn = kept;
  if (anew) rows.setAttribute("aria-rowcount", shown.length);
  const active = kept.get(selected);
  if (active) rows.setAttribute("aria-activedescendant", active.id);
  else rows.removeAttribute("aria-activedescendant");
}

function makeRow(call) {
  const cells = COLUMNS.map(([heading, kind, text]) => {
    let more = "";
    if (heading === "Status" && (call.error || call.status >= 400)) more = " bad";
    if (heading === "Cache") more = call.cache === "HIT" ? " hit" : " dim";
    if (heading === "Prompt or error") more = call.error ? " error" : " dim";
    if (heading === "Metadata") return metadataCell(call, kind);
    return element("span", { role: "gridcell", class: kind + more }, text(call));
  });
  return element(
    "div",
    { role: "row", class: "row", id: `row-${call.id}`, onclick: () => openCall(call.id) },
    cells,
  );
}

function metadataCell(call, kind) {
  const tags = Object.entries(call.metadata).map(([name, value]) =>
    element("span", { class: "tag" }, `${name}=${value}`),
  );
  return element("span", { role: "gridcell", class: kind, title: metadataText(call) }, tags);
}

// Move the selection by so many rows, and keep it in sight.
function moveSelection(index) {
  if (!shown.length) return;
  const next = Math.min(Math.max(index, 0), shown.length - 1);
  const rows = $("rows");
  if (next * ROW < rows.scrollTop) rows.scrollTop = next * ROW;
  if ((next + 1) * ROW > rows.scrollTop + rows.clientHeight)
    rows.scrollTop = (next + 1) * ROW - rows.clientHeight;
  selected = shown[next].id;
  drawRows(false);
  if (!$("detail").hidden) openCall(selected);
}

function onListKey(event) {
  const index = shown.findIndex((call) => call.id === selected);
  const page = Math.max(Math.floor($("rows").clientHeight / ROW) - 1, 1);
  const moves = {
    ArrowDown: index + 1,
    ArrowUp: index < 0 ? 0 : index - 1,
    PageDown: index + page,
    PageUp: index - page,
    Home: 0,
    End: shown.length - 1,
  };
  if (event.key in moves) moveSelection(moves[event.key]);
  else if ((event.key === "Enter" || event.key === " ") && selected !== null) {
    openCall(selected).then(() => $("detail").focus());
  } else return;
  event.preventDefault();
}

// ---------------------------------------------------------------- one call

let opened = 0; // counts openings: a response that comes late is left out

async function openCall(id) {
  selected = id;
  const mine = ++opened;
  drawRows(false);
  const call = await attempt(() => ask("GET", `/calls/${id}`));
  if (!call || mine !== opened) return;
  const detail = $("detail");
  detail.replaceChildren(...describeCall(call));
  detail.setAttribute("aria-label", `Call ${call.id}: ${call.operation}`);
  detail.scrollTop = 0;
  detail.hidden = false;
  $("view-calls").classList.add("detail-open");
  history.replaceState(null, "", `#call/${id}`);
  drawRows(false);
}

function closeDetail() {
  opened++;
  $("detail").hidden = true;
  $("view-calls").classList.remove("detail-open");
  if (location.hash.startsWith("#call/")) history.replaceState(null, "", "#calls");
  drawRows(false);
}

function describeCall(call) {
  const section = (kind, title, content) =>
    element("section", { class: kind }, element("h3", {}, title), content);
  const options = call.options.map((option) => [option.option, option.value, option.effect]);
  const none = element("p", { class: "none" }, "The call has no option of the gateway.");
  const { error, request, response } = call;
  return [
    detailHead(call),
    error && section("problem", `Error, ${sourceText(error.source)}`, element("p", {}, errorText(error))),
    section("conversation", "Conversation", conversation(call)),
    section("options", "What the gateway did", options.length ? table(["Option", "Value", "Effect"], options) : none),
    call.streamed && streamPieces(call),
    headers("Request headers", request.headers),
    headers("Response headers", response.headers),
    body("Request body", request, request.body),
    body("Response body", response, call.streamed ? wholeStream(call) : response.body),
  ].filter(Boolean);
}

const sourceText = (source) =>
  ({
    gateway: "said by the gateway",
    provider: "said by the provider",
    fault: "scripted",
    client: "the client left",
  })[source] ?? source;

function detailHead(call) {
  const fact = (name, value) => value && element("span", {}, `${name} `, element("b", {}, value));
  const facts = [
    fact("Call", String(call.id)),
    fact("at", clock(call.time)),
    fact("Model", call.model),
    fact("Provider", call.provider),
    fact("ms", milliseconds(call.ms)),
    call.streamed && fact("first byte", `${milliseconds(call.first_byte_ms)} ms`),
    fact("Tokens", tokens(call)),
    fact("Cache", call.cache),
    fact("Tries", String(call.attempts)),
    fact("Metadata", metadataText(call)),
    fact("", `${call.method} ${call.url}`),
  ];
  const title = element(
    "div",
    { class: "detail-title" },
    element("h2", {}, call.operation),
    element("span", { class: `status${call.error ? " bad" : ""}` }, statusParts(call, "no response")),
    button("Close", leaveDetail, { class: "small close", "aria-label": "Close this call" }),
  );
  const buttons = element(
    "div",
    { class: "buttons" },
    button("Send again", () => sendAgain(call), { class: "small primary", id: "send-again" }),
    copyButton(call.snippets.curl, "as curl", "Copy as curl"),
    copyButton(call.snippets.python, "as Python", "Copy as Python"),
    copyButton(call.snippets.test, "as a test", "Copy as a test"),
  );
  const factsLine = element("div", { class: "facts" }, facts.filter(Boolean));
  return element("header", { class: "detail-head" }, title, factsLine, buttons);
}

function leaveDetail() {
  closeDetail();
  $("rows").focus();
}

async function sendAgain(call) {
  const sent = await attempt(() => ask("POST", `/calls/${call.id}/send`));
  if (!sent) return;
  toast("Sent again");
  const arrived = calls.find((other) => other.id > call.id && other.client === sent.client);
  if (arrived) openCall(arrived.id);
  else awaited = sent.client;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function conversation(call) {
  const asked = parse(call.request.body ?? "") ?? {};
  const messages = Array.isArray(asked.messages) ? asked.messages : [];
  const parts = messages.map((each) => message(each?.role ?? "?", each));
  const single = asked.prompt ?? asked.input ?? asked.inputs;
  if (!parts.length && single !== undefined) {
    const list = Array.isArray(single) && single.every((each) => each?.content !== undefined);
    if (list) parts.push(...single.map((each) => message(each.role ?? "input", each)));
    else parts.push(message("input", { content: single }));
  }
  for (const answer of answers(call)) parts.push(message("answer", answer, " answer"));
  if (!parts.length) return element("p", { class: "none" }, "No prompt and no text: see the bodies.");
  return element("div", {}, parts);
}

// The messages of a response: its choices, a conversation's outputs, or what a stream adds up to.
function answers(call) {
  if (call.streamed) return [streamedAnswer(call)].filter((each) => each.content || each.tool_calls);
  const value = parse(call.response.body ?? "");
  if (Array.isArray(value?.choices)) return value.choices.map((choice) => choice?.message ?? {});
  return Array.isArray(value?.outputs) ? value.outputs : [];
}

function streamedAnswer(call) {
  const found = deltas(wholeStream(call));
  const tools = found.flatMap((delta) => (Array.isArray(delta.tool_calls) ? delta.tool_calls : []));
  const content = found.map((delta) => textOf(delta.content)).join("");
  return { content, tool_calls: tools.length ? tools : undefined };
}

const wholeStream = (call) => call.response.pieces.map((piece) => piece.text).join("");

// What each event of a stream adds: the delta of a completion, or a conversation's own event.
function deltas(text) {
  const events = text.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return events
    .map((line) => parse(line.slice(5)))
    .map((value) => value?.choices?.[0]?.delta ?? value)
    .filter((delta) => delta && typeof delta === "object");
}

function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content == null ? "" : JSON.stringify(content, null, 1);
  return content
    .map((part) => (typeof part === "string" ? part : part?.text ?? `[${part?.type ?? "part"}]`))
    .map(String)
    .join("\n");
}

function message(role, value, kind = "") {
  const line = (more, text) => text && element("div", { class: `text${more}` }, text);
  const calls = Array.isArray(value?.tool_calls) ? value.tool_calls : [];
  const called = ({ function: tool } = {}) => `${tool?.name ?? "tool"}(${textOf(tool?.arguments ?? "")})`;
  const tools = calls.map((call) => line(" mono", called(call ?? {})));
  const shown = element("div", {}, line("", textOf(value?.content)), tools);
  return element("div", { class: `message${kind}` }, element("div", { class: "role" }, String(role)), shown);
}

function streamPieces(call) {
  const rows = call.response.pieces.map(({ ms, text }) => {
    const said = deltas(text).map((delta) => textOf(delta.content)).join("");
    const raw = text.trimEnd();
    return element(
      "div",
      { class: "piece" },
      element("span", { class: "num" }, `${ms.toFixed(1)} ms`),
      element("code", {}, said && JSON.stringify(said)),
      element("code", { class: "raw", title: raw }, raw),
    );
  });
  const named = { tabindex: "0", role: "group", "aria-label": "Pieces of the stream" };
  const title = element("summary", {}, `Stream, ${number(rows.length)} pieces`);
  return element("details", { open: true }, title, element("div", { class: "pieces", ...named }, rows));
}

function headers(title, entries) {
  const summary = element("summary", {}, `${title} (${entries.length})`);
  return element("details", {}, summary, table(["Name", "Value"], entries));
}

function body(title, part, text) {
  if (!part.bytes) return null;
  const value = text == null ? undefined : parse(text);
  const pretty = value === undefined ? text : JSON.stringify(value, null, 2);
  const content = text == null ? `${number(part.bytes)} bytes that are no text` : pretty;
  const summary = element("summary", {}, `${title} (${number(part.bytes)} bytes)`);
  return element("details", {}, summary, block(content, title));
}

const block = (text, title) => element("pre", { tabindex: "0", role: "group", "aria-label": title }, text);

function table(headings, rows, numeric = 0) {
  const kind = (index) => (index >= headings.length - numeric ? "num" : index ? "" : "name");
  const cell = (tag, text, index) => element(tag, { class: kind(index), scope: tag === "th" && "col" }, String(text));
  const row = (tag, texts) => element("tr", {}, texts.map((text, index) => cell(tag, text, index)));
  const head = element("thead", {}, row("th", headings));
  return element("table", {}, head, element("tbody", {}, rows.map((texts) => row("td", texts))));
}

// ---------------------------------------------------------------- queue

const input = (name, label, more = {}, kind = "") =>
  element("label", { class: kind }, `${label} `, element("input", { name, autocomplete: "off", ...more }));
const area = (name, label, value = "", more = {}) =>
  element("label", { class: "full" }, label, element("textarea", { name, spellcheck: "false", ...more }, value));
const choice = (name, label, values) => {
  const options = values.map((value) => element("option", {}, value));
  return element("label", {}, label, element("select", { name }, options));
};
const times = () => input("times", "How many times", { type: "number", min: "1", value: "1" });

const FAULTS = ["reset", "stall", "garbage", "cut_body", "status", "slow_drip", "redirect", "edge", "access"];
const CODES = [2003, 2001, 2005, 2008, 2009, 2016, 2017, 2019, 2021, 2029, 2030, 2040, 2041, 7013];

// Kind -> its fields, and the request that they make.
const FORMS = {
  reply: {
    fields: () => [area("text", "Text", "Bonjour!", { required: true })],
    request: (form) => ["/reply", { text: form.text }],
  },
  "reply-stream": {
    fields: () => [area("pieces", "Pieces, one a line", "Bon\njour\n!")],
    request: (form) => ["/reply-stream", { pieces: form.pieces.split("\n") }],
  },
  "reply-json": {
    fields: () => [
      area("value", "JSON", '{"object": "list", "data": []}'),
      input("status", "Status", { type: "number", value: "200", min: "200", max: "599" }),
    ],
    request: (form) => ["/reply-json", { value: readJson(form.value), status: Number(form.status) }],
  },
  fail: {
    fields: () => [choice("code", "Code", CODES), input("message", "Message, if not the usual one")],
    request: (form) => ["/fail", { code: Number(form.code), ...given(form, "message") }],
  },
  "upstream-fail": {
    fields: () => [
      input("status", "Status", { type: "number", value: "500", min: "400", max: "599" }),
      times(),
    ],
    request: (form) => ["/upstream-fail", { status: Number(form.status), times: Number(form.times) }],
  },
  "upstream-delay": {
    fields: () => [
      input("seconds", "Seconds", { type: "number", value: "2", min: "0", step: "any" }),
      times(),
    ],
    request: (form) => ["/upstream-delay", { seconds: Number(form.seconds), times: Number(form.times) }],
  },
  cut: {
    fields: () => [
      choice("kind", "How", ["cut_stream", "end_stream"]),
      input("keep", "Events before that", { type: "number", value: "1", min: "0" }),
    ],
    request: (form) => ["/fault", { kind: form.kind, keep: Number(form.keep) }],
  },
  fault: {
    fields: () => [
      choice("kind", "Fault", FAULTS),
      times(),
      input("page", "Page of the edge", { placeholder: "1010, challenge" }),
      input("to", "Redirect to", { placeholder: "https://example.com/" }),
    ],
    request: (form) => ["/fault", faultFields(form)],
  },
};

function faultFields(form) {
  const page = /^\d+$/.test(form.page) ? Number(form.page) : form.page;
  const more = {};
  if (form.kind === "edge" && page) more.page = page;
  if (form.kind === "redirect") more.to = form.to;
  return { kind: form.kind, times: Number(form.times), ...more };
}

const given = (form, ...names) =>
  Object.fromEntries(names.filter((name) => form[name]).map((name) => [name, form[name]]));

function readJson(text) {
  const value = parse(text);
  if (value === undefined) throw new Error("That is not JSON.");
  return value;
}

const drawQueueFields = () => $("queue-fields").replaceChildren(...FORMS[$("queue-kind").value].fields());

async function onQueueSubmit(event) {
  event.preventDefault();
  const form = Object.fromEntries(new FormData($("queue-form")));
  $("queue-error").textContent = "";
  try {
    const kind = $("queue-kind").value;
    const [path, fields] = FORMS[kind].request(form);
    if (form.when.trim()) fields.when = readJson(form.when);
    drawQueue(await ask("POST", path, { ...fields, ...given(form, "path") }));
  } catch (error) {
    $("queue-error").textContent = error.message;
  }
}

function drawQueue(queue) {
  const entry = (kind, text) =>
    element("li", {}, element("span", { class: "tag" }, kind), element("code", {}, text));
  const faults = queue.faults.map((fault) => {
    const left = fault.times == null ? "until it is cleared" : `${fault.times - fault.hits} left`;
    return entry("fault", `${fault.kind}${fault.path ? ` on ${fault.path}` : ""}, ${left}`);
  });
  const entries = [
    ...faults,
    ...queue.upstream.map((label) => entry("provider", label)),
    ...queue.responses.map((label) => entry("response", label)),
  ];
  $("queue-list").replaceChildren(...entries);
  $("queue-none").hidden = entries.length > 0;
  $("count-queue").textContent = number(entries.length);
}

// ---------------------------------------------------------------- totals

let totalsTimer;
let totalsStale = true;

// At most once a second, and only while they are seen.
function wantTotals() {
  totalsStale = true;
  if ($("view-totals").hidden || totalsTimer) return;
  totalsTimer = setTimeout(() => (totalsTimer = undefined) || (totalsStale && drawTotals()), 1000);
}

async function drawTotals() {
  totalsStale = false;
  const totals = await attempt(() => ask("GET", "/totals"));
  if (!totals) return;
  const ratio = totals.hit_ratio == null ? "–" : `${(totals.hit_ratio * 100).toFixed(1)} %`;
  const tiles = {
    Calls: number(totals.calls),
    Errors: number(totals.errors),
    "Tokens in": number(totals.tokens_in),
    "Tokens out": number(totals.tokens_out),
    "Cache hits": ratio,
    "p50 ms": milliseconds(totals.p50_ms),
    "p95 ms": milliseconds(totals.p95_ms),
  };
  const tile = ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
  $("tiles").replaceChildren(...Object.entries(tiles).map(tile));
  drawGroups("by-error", Object.entries(totals.errors_by_code), ["Code", "Calls"]);
  const groups = (found) =>
    Object.entries(found).map(([name, group]) => [
      name,
      number(group.calls),
      number(group.errors),
      `${number(group.tokens_in)} → ${number(group.tokens_out)}`,
    ]);
  drawGroups("by-model", groups(totals.by_model), ["Model", "Calls", "Errors", "Tokens"]);
  drawGroups("by-metadata", groups(totals.by_metadata), ["Entry", "Calls", "Errors", "Tokens"]);
}

function drawGroups(id, rows, headings) {
  const none = element("p", { class: "none" }, "None yet.");
  $(id).replaceChildren(rows.length ? table(headings, rows, headings.length - 1) : none);
}

// ---------------------------------------------------------------- set up

async function drawSetup() {
  const settings = await attempt(() => ask("GET", "/settings"));
  if (!settings) return;
  const exports = Object.entries(settings.env).map(([name, value]) => `export ${name}=${value}`);
  $("empty-env").textContent = exports.join("\n");
  const line = (text, what) =>
    element("div", { class: "line" }, element("code", {}, text), copyButton(text, what));
  const card = (title, all, ...children) => {
    const copying = all && copyButton(all, title, "Copy all");
    const head = element("div", { class: "card-head" }, element("h3", {}, title), copying);
    return element("div", { class: "card" }, head, ...children);
  };
  const program = "from mistral_cf_adapter import make_client\n\nclient = make_client()";
  const alarm =
    "from mistral_cf_adapter.testing import report_bypasses\n\nreport_bypasses()  # this page warns of them";
  const snippet = (title, text) => card(title, text, block(text, title));
  $("setup-cards").replaceChildren(
    card("Environment variables", exports.join("\n"), exports.map((text) => line(text, text.split("=")[0]))),
    card(
      "Base URLs",
      null,
      line(settings.mistral_url, "the URL of Mistral's own paths"),
      line(settings.compat_url, "the URL of the OpenAI-compatible path"),
    ),
    snippet("A client in Python", program),
    snippet("Tell of calls that go past the gateway", alarm),
    element(
      "p",
      { class: "lead" },
      settings.upstream
        ? `Behind this gateway is ${settings.upstream}.`
        : "Behind this gateway is a small Mistral that says the same thing every time.",
    ),
  );
}

// ---------------------------------------------------------------- switches

const DLP = { action: "FLAG", findings: [{ profile: { entry_ids: ["email"] } }] };

function drawSwitches(switches) {
  const form = $("switches-form").elements;
  for (const name of ["authenticated", "guardrails", "access"]) form[name].checked = switches[name];
  form.dlp.checked = switches.dlp !== null;
  for (const name of ["rate_limit", "cache_ttl"])
    if (form[name] !== document.activeElement) form[name].value = switches[name] ?? "";
  $("ahead").textContent = `${number(switches.ahead)} s`;
}

async function onSwitch(event) {
  const { name, type, checked, value } = event.target;
  let wanted = type === "checkbox" ? checked : value === "" ? null : Number(value);
  if (name === "dlp") wanted = checked ? DLP : null;
  $("switches-error").textContent = "";
  try {
    drawSwitches(await ask("PATCH", "/switches", { [name]: wanted }));
    if (name === "access") drawSetup();
  } catch (error) {
    $("switches-error").textContent = error.message;
  }
}

// ---------------------------------------------------------------- alarm

let bypassed = 0;
let dismissed = 0;

async function drawAlarm(count) {
  if (count < bypassed) dismissed = 0;
  bypassed = count;
  $("alarm").hidden = count <= dismissed;
  if (count <= dismissed) return;
  const found = await attempt(() => ask("GET", "/bypassed"));
  const last = found?.bypassed.at(-1);
  if (!last) return;
  const calls = count === 1 ? "1 call went" : `${number(count)} calls went`;
  const where = last.routed === "direct" ? "to Mistral directly, as a fallback" : "to another host";
  $("alarm-text").textContent = `${calls} past the gateway. The last one: ${last.method} ${last.path}, ${where}.`;
}

// ---------------------------------------------------------------- live

let source;

function setConnection(state, text) {
  $("connection").dataset.state = state;
  $("connection").textContent = text;
}

// Load what is there, newest first, then listen for what comes.
async function start() {
  source?.close();
  calls = [];
  clearedAt = 0;
  try {
    const health = await ask("GET", "/health");
    instance = health.instance;
    listen(health.last_call_id);
    drawSetup();
    wantTotals();
    for (let before = health.last_call_id + 1, more = true; more; ) {
      const page = await ask("GET", `/calls?limit=${PAGE}&before=${before}`);
      addCalls(page.calls);
      more = page.more && calls.length < MOST;
      before = page.calls[0]?.id;
    }
    draw();
    openFromHash();
  } catch {
    setConnection("lost", "Connection lost, trying again…");
    setTimeout(start, 1000);
  }
}

function listen(after) {
  source = new EventSource(`${API}/events?after=${after}`);
  source.addEventListener("hello", (event) => {
    setConnection("live", "Live");
    if (JSON.parse(event.data).instance !== instance) start(); // the gateway was started anew
  });
  source.addEventListener("call", (event) => {
    const call = JSON.parse(event.data);
    addCalls([call]);
    if (call.client && call.client === awaited) {
      awaited = null;
      openCall(call.id);
    }
    wantTotals();
  });
  source.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    drawQueue(state.queue);
    drawSwitches(state.switches);
    drawAlarm(state.bypassed);
    if (state.cleared_at > clearedAt) {
      forgetCalls(state.cleared_at);
      wantTotals();
    }
  });
  source.addEventListener("error", () => {
    setConnection("lost", "Connection lost, trying again…");
    // A browser tries again by itself, save after a response that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(start, 1000);
  });
}

// ---------------------------------------------------------------- views and keys

const VIEWS = ["calls", "queue", "totals", "setup", "switches"];

function showView() {
  const [name] = location.hash.slice(1).split("/");
  const view = VIEWS.includes(name) ? name : "calls";
  for (const each of VIEWS) $(`view-${each}`).hidden = each !== view;
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view === "calls") drawRows(false);
  if (view === "totals") drawTotals();
}

function openFromHash() {
  const id = Number(/^#call\/(\d+)$/.exec(location.hash)?.[1]);
  if (id && calls.some((call) => call.id === id)) openCall(id);
}

function onKey(event) {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    if (location.hash && !location.hash.startsWith("#call")) location.hash = "#calls";
    showView();
    $("filter").focus();
    event.preventDefault();
  }
  if (event.key !== "Escape") return;
  if (event.target === $("filter") && $("filter").value) {
    $("filter").value = "";
    draw();
  } else if (!$("detail").hidden && !$("view-calls").hidden) leaveDetail();
}

function wire() {
  $("list-head").append(...COLUMNS.map(([heading, kind]) => element("span", { class: kind }, heading)));
  $("rows").addEventListener("scroll", () => drawRows(false), { passive: true });
  $("rows").addEventListener("keydown", onListKey);
  new ResizeObserver(() => drawRows(false)).observe($("rows"));
  $("filter").addEventListener("input", () => {
    $("rows").scrollTop = 0;
    draw();
  });
  $("filter-form").addEventListener("submit", (event) => {
    event.preventDefault();
    $("rows").focus();
    moveSelection(0);
  });
  $("queue-kind").addEventListener("change", drawQueueFields);
  $("queue-form").addEventListener("submit", onQueueSubmit);
  $("queue-clear").addEventListener("click", () =>
    attempt(async () => drawQueue(await ask("DELETE", "/queue"))),
  );
  $("switches-form").addEventListener("change", onSwitch);
  $("switches-form").addEventListener("submit", (event) => event.preventDefault());
  $("pass-time").addEventListener("click", (event) => {
    const seconds = Number(event.target.dataset.seconds);
    if (seconds) attempt(() => ask("POST", "/pass-time", { seconds }));
  });
  $("reset").addEventListener("click", async () => {
    if (await attempt(() => ask("POST", "/reset"))) toast("The gateway is reset");
  });
  $("alarm-dismiss").addEventListener("click", () => {
    dismissed = bypassed;
    $("alarm").hidden = true;
  });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => {
    showView();
    openFromHash();
  });
}

wire();
drawQueueFields();
showView();
start();
