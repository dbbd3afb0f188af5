"use strict";
/* The buttons of the categories, and the bar: naming, setting aside, undoing, saving. */

function pressed(button) {
  if (button.dataset.same !== undefined) {
    clearSelection();
    const second = Number(button.dataset.same);
    [second - 1, second].forEach((c) => selectCategory(c, true));
    if (WHOLE_CATEGORIES.size < 2) {
      say("One of the two has no picture to select: all are doubtful, set aside or of the test split.", true);
      return;
    }
    say("Both categories are selected: type a name for them, or keep it, and press Merge.");
    $("name").focus();
    return;
  }
  const c = Number(button.closest("section").dataset.category);
  if (button.dataset.do === "all") {
    TILES.expand(c, button).then(CAN_CORRECT ? count : undefined);
    return;
  }
  const isAccept = button.dataset.do === "accept";
  const numbers = standingFor(c);
  if (!isAccept && WHOLE_CATEGORIES.has(c)) selectCategory(c, false);
  else if (!numbers.length) {
    const why = "all pictures here are doubtful, set aside or of the test split";
    say(`Nothing ${isAccept ? "accepted" : "selected"}: ${why}. Select those that belong here, and name them.`, true);
  } else if (isAccept) give(DATA.categories[c].name, numbers, "Accepted");
  else selectCategory(c, true);
}

// -- changes -------------------------------------------------------------------------------------

function say(text, isWrong = false) {
  if (!CAN_CORRECT) return;
  $("said").value = text;
  $("said").classList.toggle("wrong", isWrong);
}

const pictures = (n) => `${n.toLocaleString("en")} picture${n === 1 ? "" : "s"}`;

/** Label pictures; returns whether that changed anything. */
function give(typed, numbers, verb = "Named") {
  const { name, problem } = NAMES.read(typed);
  if (problem) {
    say(problem, true);
    return false;
  }
  const isOther = (n) => hasOtherTruth(n, name);
  const refused = numbers.filter(isOther);
  const states = numbers.filter((n) => !isOther(n)).map((n) => [n, { label: name, aside: false }]);
  const n = CHANGES.make(`${verb} “${visible(name)}”`, states);
  const but = refused.length
    ? ` ${pictures(refused.length)} left as before: labels.csv has another name in the column “truth”.`
    : "";
  const done = `${verb} “${visible(name)}”: ${pictures(n)}.`;
  const same = states.length ? "Nothing to change: they have this label." : "Nothing changed.";
  say((n ? done : same) + but, !n);
  changed(CHANGES.steps.at(-1));
  return n > 0;
}

/** Whether the table's column "truth" has another name for a picture, or for a file equal to it. */
function hasOtherTruth(n, label) {
  const alike = DATA.pictures[n].alike ?? [n];
  return alike.some((m) => DATA.pictures[m].truth && DATA.pictures[m].truth !== label);
}

function setAside(numbers) {
  const hadLabel = numbers.filter((n) => CHANGES.of(n).label).length;
  const n = CHANGES.make("Not this", numbers.map((m) => [m, { label: "", aside: true }]));
  const cleared = hadLabel ? `Labels taken off: ${hadLabel}. ` : "";
  say(`Set aside: ${pictures(n)}. ${cleared}labels.csv cannot say what a picture is not: where you know the right name, give it.`);
  changed(CHANGES.steps.at(-1));
}

function changed(step) {
  show(step);
  keepDraft();
}

/** Bring the page up to date after a step. */
function show(step) {
  step?.changed.forEach(({ n }) => TILES.describe(n));
  NAMES.use([...CHANGES.now.values()].map(({ label }) => label).filter(Boolean));
  const datalist = NAMES.sorted().map((name) => element("option", { value: name }));
  $("names").replaceChildren(...datalist);
  $("changes").textContent = `Changes (${CHANGES.now.size.toLocaleString("en")})`;
  // What was saved can be saved again: a download may be lost, or the wrong file chosen.
  const canSave = [savedText, tableText].some((text) => text !== currentText());
  enable({ undo: CHANGES.steps.length, redo: CHANGES.undone.length, save: canSave });
  if (!$("list").hidden) listChanges();
}

/** Every step, the last one first; its pictures are listed when it is opened. */
function listChanges() {
  const steps = CHANGES.steps.map(({ title, changed: all }) => {
    const details = element("details", {}, element("summary", { textContent: `${title}: ${pictures(all.length)}` }));
    details.addEventListener("toggle", () => {
      if (details.children.length > 1) return;
      const lines = all.map(({ n, before, after }) => element("li", { textContent: lineOf(n, before, after) }));
      details.append(element("ul", {}, ...lines));
    });
    return element("li", {}, details);
  });
  const list = element("ul", {}, ...steps.reverse());
  $("list").replaceChildren(steps.length ? list : element("p", { textContent: "No changes." }));
}

function lineOf(n, before, after) {
  const state = ({ label, aside }) => (aside ? "set aside" : label || "no label");
  const unsaid = after.aside && !CHANGES.start(n).label ? " (has no label: nothing to write)" : "";
  return visible(`${DATA.pictures[n].path}: ${state(before)} → ${state(after)}`) + unsaid;
}

// -- saving --------------------------------------------------------------------------------------

const currentText = () => labelsText(DATA.table, DATA.pictures, CHANGES.labels());
const tableText = CAN_CORRECT ? DATA.table.pieces.join("") : "";
let savedText = tableText;
let savedLabels = []; // those of the saved text that differ from the table: [[n, label], …]
let handle = null; // of the file that was saved before

async function save() {
  const text = currentText();
  const labels = [...CHANGES.labels()];
  if (text === savedText) handle = null; // perhaps it was the wrong file
  const left = DATA.pictures.some((_, n) => CHANGES.of(n).label);
  if (!left) {
    say("Not saved: no picture would have a label, and the pictures are sorted by labels. Name some first.", true);
    return;
  }
  try {
    const where = "showSaveFilePicker" in window ? await saveInPlace(text) : download(text);
    savedText = text;
    savedLabels = labels;
    waiting = []; // the page has named them
    changed();
    say(`${where} Now run, to sort again with these labels: ${visible(DATA.again)}`);
  } catch (error) {
    handle = null; // its file may be gone or read-only: ask again
    if (error.name === "AbortError") say("Not saved.", true);
    else say(`Not saved: ${error.message.replace(/\.?$/, ".")} Press Save again to choose the file.`, true);
  }
}

async function saveInPlace(text) {
  handle ??= await window.showSaveFilePicker({
    suggestedName: DATA.table.path.split("/").pop(),
    types: [{ description: "Labels", accept: { "text/csv": [".csv"] } }],
  });
  const there = await (await handle.getFile()).text();
  const known = [savedText, text, tableText].map(withoutMark);
  if (there && !known.includes(withoutMark(there))) {
    const question = `${handle.name} has changed since this page was made. Replace it, and lose those changes?`;
    if (!confirm(question)) throw new DOMException("", "AbortError");
  }
  const file = await handle.createWritable();
  await file.write(text);
  await file.close();
  return `Saved the file that you chose. It counts only if it is ${DATA.table.path}.`;
}

const withoutMark = (text) => text.replace(/^\ufeff/, ""); // reading a file takes it off

function download(text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  element("a", { href: address, download: DATA.table.path.split("/").pop() }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  return `Saved in your downloads. Move the newest file “labels….csv” from there to ${DATA.table.path}, in place of the one there.`;
}

// -- what is kept if the page is closed ------------------------------------------------------------

// Of this run and its photographs: the page may be made again, with others.
const DRAFT = `gcdflow ${DATA.run} ${placeOfImages()}`;
let database = null; // open, unless the browser keeps nothing: then the warning on leaving remains
let restored = null; // a promise: what was kept is in the page
const otherTabs = new BroadcastChannel(DRAFT);
let waiting = []; // kept changes of pictures that are not there now, or were labelled otherwise since

function placeOfImages() {
  const place = DATA.originals ?? ".";
  try {
    return String(new URL(place, location.href));
  } catch {
    return place; // within a report of Snakemake, the page has no address
  }
}

const categoryOf = (n) => DATA.categories[TILES.categoryOf[n]].name;

/** A promise of what the browser keeps of this page. */
async function readDraft() {
  // Not localStorage: where a busy machine reloads a page, Chromium may give it an empty one.
  const opened = indexedDB.open("gcdflow", 1);
  opened.onupgradeneeded = () => opened.result.createObjectStore("drafts");
  database = await answer(opened);
  return answer(database.transaction("drafts").objectStore("drafts").get(DRAFT));
}

function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function keepDraft() {
  await restored; // not to write over what was kept
  if (!database) return;
  const changes = [...CHANGES.now].map(([n, state]) => {
    const found = { ...state, before: CHANGES.start(n).label, category: categoryOf(n) };
    return [DATA.pictures[n].path, found];
  });
  const own = new Set(changes.map(([path]) => path));
  const others = waiting.filter(([path]) => !own.has(path));
  const draft = { key: DATA.key, changes: [...changes, ...others], saved: savedLabels };
  const writing = database.transaction("drafts", "readwrite");
  writing.objectStore("drafts").put(draft, DRAFT);
  writing.commit(); // also if the page is left now
  otherTabs.postMessage(draft);
}

function restoreDraft(draft) {
  if (!draft) return;
  const states = adopt(draft);
  const n = CHANGES.make("Kept from last time", states);
  const isSaved = draft.saved.length && savedText === currentText();
  const kept = isSaved
    ? `changed and saved when this page was last open. To sort again with these labels, run: ${visible(DATA.again)}`
    : "changed when this page was last open: kept. Undo takes them back.";
  const left = waiting.slice(0, 3).map(([path, { label }]) => `${visible(path)} (${visible(label) || "no label"})`);
  const gone = `${pictures(waiting.length)} cannot be labelled as before, gone or labelled otherwise in labels.csv since: ${left.join(", ")}${waiting.length > 3 ? " …" : "."}`;
  if (n || left.length) say([n && `${pictures(n)} ${kept}`, left.length && gone].filter(Boolean).join(" "), left.length > 0);
  show(CHANGES.steps.at(-1));
}

/** Take over what a draft says of saving; returns what the page can still do of its changes. */
function adopt({ key, changes, saved }) {
  waiting = [];
  if (key === DATA.key) {
    savedLabels = saved;
    savedText = labelsText(DATA.table, DATA.pictures, new Map(saved));
  }
  return stillPossible(changes);
}

/** Follow another tab. Each shows the changes of all, so none keeps a draft without those of another. */
function follow(draft) {
  if (draft.key !== DATA.key) return; // the page was made again; here is the old one
  const states = new Map([...CHANGES.now.keys()].map((n) => [n, CHANGES.start(n)]));
  adopt(draft).forEach(([n, state]) => states.set(n, state));
  CHANGES.make("Changed in another tab", [...states]);
  show(CHANGES.steps.at(-1));
}

/** What the page can still do of kept changes; the others wait, as a photograph may come back. */
function stillPossible(changes) {
  const numbers = new Map(DATA.pictures.map(({ path }, n) => [path, n]));
  const states = [];
  for (const [path, change] of changes) {
    const { label, aside, before, category } = change;
    const n = numbers.get(path);
    const isFixed = n === undefined || DATA.pictures[n].locked || (label && hasOtherTruth(n, label));
    const now = isFixed ? null : CHANGES.start(n).label;
    // What is set aside does not belong to that category, but may belong to another.
    const isAsideHere = aside && n !== undefined && category === categoryOf(n);
    if (now === before && (label !== before || isAsideHere)) states.push([n, { label, aside }]);
    else if (label !== before && label !== now) waiting.push([path, change]); // else the run has read it
  }
  return states;
}

// -- start ---------------------------------------------------------------------------------------

function undoOrRedo(what) {
  const step = CHANGES[what]();
  if (!step) return;
  changed(step);
  say(`${what === "undo" ? "Taken back" : "Done again"}: ${step.title}, ${pictures(step.changed.length)}.`);
}

function startBar() {
  document.documentElement.classList.add("has-bar");
  $("bar").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!SELECTED.size) say("Select pictures first.", true);
    else if (give($("name").value, [...SELECTED], WHOLE_CATEGORIES.size > 1 ? "Merged as" : "Named")) {
      clearSelection();
      $("name").value = "";
      returnFocus();
    }
  });
  $("not").addEventListener("click", () => {
    setAside([...SELECTED]);
    clearSelection();
  });
  $("clear").addEventListener("click", clearSelection);
  $("undo").addEventListener("click", () => undoOrRedo("undo"));
  $("redo").addEventListener("click", () => undoOrRedo("redo"));
  $("save").addEventListener("click", save);
  $("changes").addEventListener("click", () => {
    $("list").hidden = !$("list").hidden;
    $("changes").setAttribute("aria-expanded", String(!$("list").hidden));
    listChanges();
  });
  addEventListener("keydown", (event) => {
    const field = event.target.closest("input");
    const isTyping = Boolean(field?.value);
    const key = event.key.toLowerCase();
    const hasCommand = event.ctrlKey || event.metaKey;
    if (key === "escape" && isTyping) {
      field.value = "";
      field.dispatchEvent(new Event("input"));
    } else if (key === "escape" && !WHOLE.dialog.open) clearSelection();
    else if (isTyping || !hasCommand) return;
    else if (key === "z") undoOrRedo(event.shiftKey ? "redo" : "undo");
    else if (key === "y") undoOrRedo("redo");
    else if (key === "a" && event.target.closest(".tile"))
      select(TILES.shown(event.target.closest("section").dataset.category).map(numberOf));
    else return;
    event.preventDefault();
  });
  addEventListener("beforeunload", (event) => {
    if (savedText !== currentText()) event.preventDefault();
  });
  otherTabs.addEventListener("message", ({ data }) => restored.then(() => follow(data)));
  MAIN.addEventListener("pointerdown", startFrame);
  MAIN.addEventListener("dragstart", (event) => event.preventDefault());
  restored = readDraft()
    .then(restoreDraft)
    .catch(() => {}); // nothing can be kept, or something else lies there
  changed();
  count();
}

document.documentElement.classList.add("has-scripts");
$("find").addEventListener("input", () => {
  const n = TILES.find($("find").value.trim());
  const limit = n > TOGETHER ? `, the first ${TOGETHER} shown` : "";
  $("found").value = TILES.wanted ? `${pictures(n)} found${limit}` : "";
  if (CAN_CORRECT) count();
});
if (CAN_CORRECT) startBar();
