"use strict";
// Everything that comes from the server becomes text or an attribute, never markup.

const VIEWS = ["review", "rejected", "kept", "decided", "all"];
const PAGE = 60;
const SAID = { keep: "Kept", reject: "Rejected", undecided: "Taken back" };
const MARKS = { keep: "✓ keep", reject: "✕ reject" };

const token = document.querySelector('meta[name="kwcolor-token"]');
const sheet = document.getElementById("sheet");
const tabs = [...document.querySelectorAll("#tabs [role=tab]")];
const reason = document.getElementById("reason");
const words = document.getElementById("words");
const problem = document.getElementById("problem");
const details = document.getElementById("details");
const copies = document.getElementById("copies");
const help = document.getElementById("help");

let view = "review";
let photographs = [];
let cells = [];
let at = 0;
let remaining = 0;
let columns = 0;
let table = "";
// Raised when other photographs are asked for, so that a late answer to an earlier question is dropped.
let question = 0;
let loading = null;
let writing = Promise.resolve();

// ---- the server

// What the server or the network says no to; everything else is a mistake in this file.
class Refusal extends Error {}

async function ask(path, sent) {
  const options = sent && {
    method: "POST",
    headers: { "Content-Type": "application/json", [token.dataset.header]: token.content },
    body: JSON.stringify(sent),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refusal("The server does not answer any more; start `kwcolor review` again.");
  }
  const told = await answer.json();
  if (!answer.ok) throw new Refusal(told.error);
  return told;
}

function complain(error) {
  if (!(error instanceof Refusal)) throw error;
  problem.textContent = error.message;
  problem.hidden = false;
}

function standing(told) {
  for (const tab of tabs) tab.querySelector(".count").textContent = told.counts[tab.dataset.view].toLocaleString("en");
  document.getElementById("pending").textContent =
    told.pending === 0 ? "No decision waits for a run."
    : told.pending === 1 ? "One decision waits for the next run."
    : `${told.pending} decisions wait for the next run.`;
  const changed = table && told.table !== table;
  table = told.table;
  return changed;
}

// ---- the sheet

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function factsOf(photo) {
  const several = photo.number_of_copies > 1 ? `${photo.number_of_copies} copies` : "";
  return [photo.year, photo.source, photo.creator, several].filter(Boolean).join(" · ");
}

function verdictOf(photo) {
  return (photo.kept ? "Kept" : "Rejected") + (photo.by_person ? " by a person." : ".");
}

function decidedWords(decision) {
  return decision ? `You decided: ${decision}.` : "Undecided.";
}

function buttonsFor(photoId, decision, title, tabIndex) {
  const box = element("div", "buttons");
  for (const [wanted, text] of [["keep", "Keep"], ["reject", "Reject"]]) {
    const button = element("button", "", text);
    button.type = "button";
    button.tabIndex = tabIndex;
    button.dataset.decision = wanted;
    button.setAttribute("aria-pressed", String(decision === wanted));
    button.setAttribute("aria-label", `${text}: ${title}`);
    button.addEventListener("click", () => decide(photoId, decision === wanted ? "undecided" : wanted));
    box.append(button);
  }
  return box;
}

function titleOf(photo) {
  return photo.title || "Untitled";
}

function fill(cell, photo) {
  cell.className = `cell ${photo.decision || ""}`;
  cell.setAttribute(
    "aria-label",
    [titleOf(photo), factsOf(photo), verdictOf(photo), photo.why, decidedWords(photo.decision)].join(". ").replaceAll("..", "."),
  );
  const well = element("div", "well");
  const image = element("img");
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  // The part that is shown belongs to the address, so that another part is no longer the remembered picture.
  image.src = `/thumbnails/${photo.photo_id}?box=${(photo.box || []).join(",")}`;
  well.append(image);
  if (photo.decision) well.append(element("span", "mark", MARKS[photo.decision]));
  well.addEventListener("click", () => { go(cells.indexOf(cell)); enlarge(); });
  const why = element("p", "why");
  why.append(element("strong", "", verdictOf(photo)), ` ${photo.why}`);
  const title = element("p", "title", titleOf(photo));
  title.title = titleOf(photo);
  cell.replaceChildren(
    well, title, element("p", "facts", factsOf(photo)), why,
    buttonsFor(photo.photo_id, photo.decision, titleOf(photo), -1),
  );
}

function cellFor(photo) {
  const cell = element("div");
  cell.setAttribute("role", "gridcell");
  cell.tabIndex = -1;
  cell.addEventListener("focusin", () => arrived(cells.indexOf(cell)));
  fill(cell, photo);
  return cell;
}

function fittingColumns() {
  const width = sheet.clientWidth;
  return Math.max(1, width < 600 ? Math.floor(width / 160) : Math.floor((width + 16) / 246));
}

// Cells lie in rows, as a grid has to have for screen readers; the width decides how many in each.
function layOut() {
  const fitting = fittingColumns();
  const focused = cells.indexOf(document.activeElement);
  if (fitting !== columns) sheet.replaceChildren();
  columns = fitting;
  sheet.style.setProperty("--columns", columns);
  sheet.setAttribute("aria-colcount", columns);
  for (let first = sheet.querySelectorAll(".cell").length; first < cells.length; first++) {
    let row = sheet.lastElementChild;
    if (first % columns === 0) {
      row = element("div", "row");
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", first / columns + 1);
      sheet.append(row);
    }
    cells[first].setAttribute("aria-colindex", (first % columns) + 1);
    row.append(cells[first]);
  }
  sheet.setAttribute("aria-rowcount", Math.ceil((cells.length + remaining) / columns));
  if (focused >= 0 && document.activeElement !== cells[focused]) cells[focused].focus();
}

async function show() {
  const mine = ++question;
  loading = null;
  try {
    const told = await ask(addressOf(""));
    if (mine !== question) return;
    photographs = [];
    cells = [];
    at = 0;
    sheet.replaceChildren();
    standing(told);
    showReasons(told.reasons);
    take(told);
    problem.hidden = true;
    const nothing = document.getElementById("nothing");
    nothing.hidden = cells.length > 0;
    nothing.textContent = reason.value || words.value ? "Nothing here matches." : "Nothing here.";
    if (cells.length) cells[0].tabIndex = 0;
    scrollTo(0, 0);
  } catch (error) {
    if (mine === question) complain(error);
  }
}

function addressOf(after) {
  const asked = new URLSearchParams({ view, reason: reason.value, q: words.value, after, limit: PAGE });
  return `/api/photographs?${asked}`;
}

function take(told) {
  remaining = told.remaining;
  for (const photo of told.photographs) {
    photographs.push(photo);
    cells.push(cellFor(photo));
  }
  document.getElementById("more").hidden = remaining === 0;
  layOut();
}

function more() {
  if (remaining === 0) return Promise.resolve();
  const mine = question;
  loading ||= ask(addressOf(photographs.at(-1).photo_id))
    .then((told) => {
      if (mine !== question) return;
      loading = null;
      if (standing(told)) {
        say("The photographs were curated again.");
        return show().then(() => go(0));
      }
      take(told);
    })
    .catch((error) => {
      if (mine !== question) return;
      loading = null;
      remaining = 0;
      complain(error);
    });
  return loading;
}

function showReasons(found) {
  const chosen = reason.value;
  const options = found.map((entry) => optionFor(entry.reason, `${entry.words} (${entry.count.toLocaleString("en")})`));
  // What was chosen in another view stays chosen, also where this view has none of it.
  if (chosen && !found.some((entry) => entry.reason === chosen)) options.push(optionFor(chosen, `${chosen.replaceAll("_", " ")} (0)`));
  reason.replaceChildren(optionFor("", "any"), ...options);
  reason.value = chosen;
}

function optionFor(value, text) {
  const option = element("option", "", text);
  option.value = value;
  return option;
}

// ---- moving

function arrived(index) {
  if (index < 0) return;
  if (cells[at]) cells[at].tabIndex = -1;
  at = index;
  cells[at].tabIndex = 0;
  if (at >= cells.length - 3 * columns) more();
}

function go(index) {
  if (!cells.length) {
    sheet.focus();
    return;
  }
  arrived(Math.min(Math.max(index, 0), cells.length - 1));
  cells[at].focus({ preventScroll: true });
  cells[at].scrollIntoView({ block: "nearest" });
}

async function goFar(index) {
  while (index >= cells.length && remaining > 0) await more();
  go(index);
}

// Down from the last full row leads into the row that is begun, and nowhere from the last one.
function downFrom(index) {
  const below = index + columns;
  const lastRow = Math.floor((cells.length + remaining - 1) / columns);
  return Math.floor(index / columns) === lastRow ? index : Math.min(below, cells.length + remaining - 1);
}

function screenful() {
  const height = cells[at]?.parentElement.offsetHeight || 1;
  return Math.max(1, Math.floor((innerHeight - 160) / height)) * columns;
}

async function nextUndecided() {
  for (let index = at + 1; ; index++) {
    while (index >= cells.length && remaining > 0) await more();
    if (index >= cells.length) break;
    if (!photographs[index].decision) return index;
  }
  const earlier = photographs.findIndex((photo) => !photo.decision);
  if (earlier < 0) say("Nothing undecided is left here.");
  return earlier;
}

async function switchTo(name) {
  view = name;
  for (const tab of tabs) {
    const chosen = tab.dataset.view === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    // On a phone the tabs are wider than the screen.
    if (chosen) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 16;
  }
  const heading = tabs.find((tab) => tab.dataset.view === name).firstElementChild.textContent;
  document.getElementById("panel").setAttribute("aria-label", heading);
  remember();
  await show();
}

function remember() {
  const asked = new URLSearchParams({ view });
  if (reason.value) asked.set("reason", reason.value);
  if (words.value) asked.set("q", words.value);
  history.replaceState(null, "", `#${asked}`);
}

function say(text) {
  // The same words again are announced as well.
  const said = document.getElementById("said");
  said.textContent = "";
  requestAnimationFrame(() => { said.textContent = text; });
}

// ---- deciding

// One after the other, in the order of the keys.
function decide(photoId, decision) {
  writing = writing.then(async () => {
    const told = await ask("/api/decisions", { photo_id: photoId, decision });
    problem.hidden = true;
    const photo = told.photograph;
    const index = photographs.findIndex((known) => known.photo_id === photo.photo_id);
    if (index >= 0) {
      photographs[index] = photo;
      const focused = cells[index].contains(document.activeElement);
      fill(cells[index], photo);
      if (focused) cells[index].focus({ preventScroll: true });
    }
    const changed = standing(told);
    const left = told.counts.review;
    const howMany = left === 0 ? "Nothing is" : left === 1 ? "One is" : `${left} are`;
    say(`${SAID[decision]}: ${titleOf(photo)}. ${howMany} left to review.`);
    if (details.open) await fillDetails(photographs[at].photo_id, photoId);
    if (changed) {
      await show();
      if (!details.open) go(0);
    }
  }).catch((error) => {
    complain(error);
    say(error.message);
  });
  return writing;
}

// ---- enlarged

async function enlarge() {
  if (!photographs[at]) return;
  try {
    await fillDetails(photographs[at].photo_id);
    if (!details.open) details.showModal();
    copies.querySelector('[tabindex="0"]').focus();
  } catch (error) {
    complain(error);
  }
}

async function fillDetails(photoId, chosenId) {
  const told = await ask(`/api/photographs/${photoId}`);
  document.getElementById("details-title").textContent = titleOf(told);
  document.getElementById("details-why").textContent = `${verdictOf(told)} ${told.why} ${decidedWords(told.decision)}`;
  const hadFocus = copies.contains(document.activeElement);
  copies.replaceChildren(...told.copies.map((copy) => figureFor(copy, told)));
  const chosen = told.copies.findIndex((copy) => (chosenId ? copy.photo_id === chosenId : copy.shown));
  const figure = copies.children[Math.max(chosen, 0)];
  figure.tabIndex = 0;
  if (hadFocus) figure.focus();
}

function figureFor(copy, photo) {
  const figure = element("figure", `copy ${copy.decision || ""}`);
  figure.tabIndex = -1;
  figure.dataset.photoId = copy.photo_id;
  const picture = element("div", "picture");
  const image = element("img");
  image.alt = "";
  image.addEventListener("load", () => picture.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight));
  image.src = `/pictures/${copy.photo_id}`;
  picture.append(image);
  if (copy.box) {
    const frame = element("div", "frame");
    const [left, top, right, bottom] = copy.box.map((share) => share * 100);
    Object.assign(frame.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    picture.append(frame);
  }
  const caption = element("figcaption");
  const several = photo.copies.length > 1;
  const which = several && copy.shown ? "the copy that is shown" : "";
  if (several) caption.append(element("p", "title", copy.title || titleOf(photo)));
  caption.append(element("p", "facts", [which, copy.size, copy.source, copy.creator, copy.licence].filter(Boolean).join(" · ")));
  if (copy.page) {
    const line = element("p", "facts");
    const link = element("a", "", "the archive's page");
    link.href = copy.page;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    line.append(link);
    caption.append(line);
  }
  figure.append(picture, caption, buttonsFor(copy.photo_id, copy.decision, copy.title || titleOf(photo), 0));
  figure.setAttribute("role", "group");
  figure.setAttribute(
    "aria-label",
    [copy.title || titleOf(photo), which, copy.size, copy.source, decidedWords(copy.decision)].filter(Boolean).join(", "),
  );
  return figure;
}

function chosenCopy() {
  return [...copies.children].findIndex((figure) => figure.tabIndex === 0);
}

function chooseCopy(index) {
  const figures = [...copies.children];
  const wanted = Math.min(Math.max(index, 0), figures.length - 1);
  figures.forEach((figure, position) => { figure.tabIndex = position === wanted ? 0 : -1; });
  figures[wanted].focus();
  figures[wanted].scrollIntoView({ block: "nearest" });
}

async function enlargeAnother(index) {
  while (index >= cells.length && remaining > 0) await more();
  if (index < 0 || index >= cells.length) return;
  arrived(index);
  cells[at].scrollIntoView({ block: "nearest" });
  await enlarge();
}

// ---- keys

const MOVES = { h: "ArrowLeft", j: "ArrowDown", k: "ArrowUp", l: "ArrowRight" };
const VERDICTS = { K: "keep", y: "keep", Y: "keep", r: "reject", R: "reject", u: "undecided", U: "undecided" };

// What a key does in the sheet: nothing where it gives undefined.
function inSheet(key, control) {
  switch (key) {
    case "ArrowLeft": return () => go(at - 1);
    case "ArrowRight": return () => goFar(at + 1);
    case "ArrowUp": return () => at >= columns && go(at - columns);
    case "ArrowDown": return () => goFar(downFrom(at));
    case "Home": return () => go(control ? 0 : at - (at % columns));
    case "End": return () => go(control ? cells.length - 1 : at - (at % columns) + columns - 1);
    case "PageUp": return () => go(Math.max(at - screenful(), at % columns));
    case "PageDown": return () => goFar(at + screenful());
    case "Enter": return enlarge;
    case "n": case "N": return async () => { const found = await nextUndecided(); if (found >= 0) go(found); };
    case "/": return () => { words.focus(); words.select(); };
    case "1": case "2": case "3": case "4": case "5": return async () => { await switchTo(VIEWS[key - 1]); go(0); };
  }
}

function inDetails(key) {
  switch (key) {
    case "ArrowLeft": return () => chooseCopy(chosenCopy() - 1);
    case "ArrowRight": return () => chooseCopy(chosenCopy() + 1);
    case "ArrowUp": return () => enlargeAnother(at - 1);
    case "ArrowDown": return () => enlargeAnother(at + 1);
    case "Home": return () => chooseCopy(0);
    case "End": return () => chooseCopy(copies.children.length - 1);
    case "n": case "N": return async () => { const found = await nextUndecided(); if (found >= 0) await enlargeAnother(found); };
  }
}

function chosenPhotoId() {
  return details.open ? copies.children[chosenCopy()].dataset.photoId : photographs[at]?.photo_id;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
  const target = event.target;
  if (target === words) {
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      searchNow().then(() => go(0));
    }
    return;
  }
  const control = event.ctrlKey;
  if (control && event.key !== "Home" && event.key !== "End") return;
  if (target === reason || help.open) return;
  const key = MOVES[event.key] || event.key;
  // Enter on a button or a link is theirs, and so are the arrows among the tabs.
  if (key === "Enter" && target.closest("button, a")) return;
  if (target.role === "tab" && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
    event.preventDefault();
    const next = { ArrowLeft: tabs.indexOf(target) - 1, ArrowRight: tabs.indexOf(target) + 1, Home: 0, End: -1 }[event.key];
    tabs.at(next % tabs.length).focus();
    switchTo(document.activeElement.dataset.view);
    return;
  }
  const act = key === "?" ? () => help.showModal()
    : VERDICTS[key] ? () => chosenPhotoId() && decide(chosenPhotoId(), VERDICTS[key])
    : details.open ? inDetails(key) : inSheet(key, control);
  if (!act) return;
  event.preventDefault();
  act();
});

// ---- the rest of the page

let waiting = 0;
function searchNow() {
  clearTimeout(waiting);
  remember();
  return show();
}
words.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(searchNow, 250);
});
reason.addEventListener("change", searchNow);
for (const tab of tabs) tab.addEventListener("click", () => switchTo(tab.dataset.view));
document.getElementById("ask-help").addEventListener("click", () => help.showModal());
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
details.addEventListener("close", () => go(at));
help.addEventListener("close", () => { if (!details.open) go(at); });
new ResizeObserver(() => { if (fittingColumns() !== columns) layOut(); }).observe(sheet);
new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting) && cells.length) more(); }, {
  rootMargin: "1000px",
}).observe(document.getElementById("more"));

const asked = new URLSearchParams(location.hash.slice(1));
words.value = asked.get("q") || "";
reason.append(optionFor(asked.get("reason") || "", ""));
reason.value = asked.get("reason") || "";
switchTo(VIEWS.includes(asked.get("view")) ? asked.get("view") : "review").then(() => go(0));
