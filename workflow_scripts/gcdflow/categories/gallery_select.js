"use strict";
/* Selecting pictures and categories by mouse, keyboard and touch. */

const $ = (id) => document.getElementById(id);
const CAN_CORRECT = DATA.table !== null;
const CHANGES = CAN_CORRECT ? new Changes(DATA.pictures) : null;
const NAMES = new Names(DATA.names);
const TILES = new Tiles(CHANGES);
const SELECTED = new Set(); // numbers of pictures; some may not be shown
const WHOLE_CATEGORIES = new Set();
const WHOLE = new Whole(TILES, CAN_CORRECT ? (tile) => select([numberOf(tile)], !isSelected(tile)) : null);
let proposed = ""; // the name of a merger that the page put into the field
let anchor = null; // where a range of shift-clicks begins
let lastFocused = null; // a tile or button of a category
let hasDragged = false; // the click that ends a drag is none

// -- selection ---------------------------------------------------------------------------------

const numberOf = (tile) => Number(tile.dataset.n);
const isSelected = (tile) => SELECTED.has(numberOf(tile));

function select(numbers, isOn = true) {
  const free = numbers.filter((n) => !DATA.pictures[n].locked);
  if (numbers.length === 1 && !free.length) say(`This picture ${DATA.pictures[numbers[0]].locked}.`, true);
  for (const n of free) {
    if (isOn) SELECTED.add(n);
    else SELECTED.delete(n);
    TILES.byNumber.get(n)?.setAttribute("aria-selected", String(isOn));
  }
  count();
}

function clearSelection() {
  select([...SELECTED], false);
  WHOLE_CATEGORIES.clear();
  anchor = null;
  count();
}

function count() {
  for (const c of WHOLE_CATEGORIES) {
    // Somebody may have clicked all of its pictures off.
    if (!DATA.categories[c].members.some((n) => SELECTED.has(n))) WHOLE_CATEGORIES.delete(c);
  }
  const n = SELECTED.size;
  const hidden = [...SELECTED].filter((m) => TILES.byNumber.get(m)?.hidden ?? true).length;
  const others = hidden ? `, ${hidden} not shown` : "";
  $("count").value = n ? `${n.toLocaleString("en")} selected${others}` : "Nothing selected";
  enable({ give: n, not: n, clear: n });
  $("give").textContent = WHOLE_CATEGORIES.size > 1 ? "Merge" : "Name";
  proposeName();
  for (const button of MAIN.querySelectorAll('[data-do="select"]')) {
    const c = Number(button.closest("section").dataset.category);
    button.setAttribute("aria-pressed", String(WHOLE_CATEGORIES.has(c)));
    button.textContent = WHOLE_CATEGORIES.has(c) ? "Selected ✓" : "Select";
  }
}

/**
 * The pictures that stand for a category: those that the page shows, without doubtful ones and those
 * set aside, and all that have its label, also where the page does not show them.
 */
function standingFor(c) {
  const { members, name } = DATA.categories[c];
  const shown = TILES.shown(c).map(numberOf);
  const sure = shown.filter((n) => !DATA.pictures[n].doubtful);
  const labelled = TILES.wanted ? [] : members.filter((n) => CHANGES.of(n).label === name);
  return [...new Set([...sure, ...labelled])].filter(
    (n) => !CHANGES.of(n).aside && !DATA.pictures[n].locked,
  );
}

function selectCategory(c, isOn) {
  if (isOn) WHOLE_CATEGORIES.add(c);
  else WHOLE_CATEGORIES.delete(c);
  select(isOn ? standingFor(c) : DATA.categories[c].members.filter((n) => SELECTED.has(n)), isOn);
  count();
}

/** Enable buttons, by id, or disable them. If the focused one is disabled, the focus goes back to where the selection was made. */
function enable(buttons) {
  const focused = document.activeElement; // some browsers forget it as soon as it is disabled
  for (const [id, isUseful] of Object.entries(buttons)) $(id).disabled = !isUseful;
  if (focused?.disabled) returnFocus();
}

function returnFocus() {
  const isThere = lastFocused?.checkVisibility?.() && !lastFocused.disabled;
  (isThere ? lastFocused : $("name")).focus({ preventScroll: true });
}

MAIN.addEventListener("focusin", (event) => (lastFocused = event.target));

/** Propose a name for a merger, and take the proposal back; never change what somebody typed. */
function proposeName() {
  const proposal = WHOLE_CATEGORIES.size > 1 ? nameOfMerger([...WHOLE_CATEGORIES]) : "";
  const field = $("name");
  if (proposal !== proposed && ["", proposed].includes(field.value)) field.value = proposal;
  proposed = proposal;
}

/** A name that one of the categories has from the user (that of the largest); "" if none has one. */
function nameOfMerger(categories) {
  const old = categories.map((c) => DATA.categories[c]).filter((category) => !category.isNew);
  old.sort((a, b) => b.members.length - a.members.length);
  return old[0]?.name ?? "";
}

function clickTile(tile, event) {
  TILES.focusable(tile);
  if (!CAN_CORRECT || event.target.closest(".open")) {
    WHOLE.show(tile);
    return;
  }
  const shown = TILES.shown();
  const from = shown.indexOf(anchor);
  if (event.shiftKey && from >= 0) {
    const [a, b] = [from, shown.indexOf(tile)].sort((x, y) => x - y);
    select(shown.slice(a, b + 1).map(numberOf), isSelected(anchor));
  } else {
    select([numberOf(tile)], !isSelected(tile));
    anchor = tile;
  }
}

/** The nearest tile above (-1) or below (1); one step aside counts as two down, so columns are kept. */
function tileInRow(tile, direction) {
  const here = tile.getBoundingClientRect();
  let best = null;
  let least = Infinity;
  for (const other of TILES.shown()) {
    const box = other.getBoundingClientRect();
    const down = direction * (box.top - here.top);
    const cost = down + 2 * Math.abs(box.left - here.left);
    if (down > here.height / 2 && cost < least) [best, least] = [other, cost];
  }
  return best;
}

function moveFocus(tile, event) {
  const shown = TILES.shown();
  const at = shown.indexOf(tile);
  const ofCategory = TILES.shown(tile.closest("section").dataset.category);
  const target = {
    ArrowRight: () => shown[at + 1],
    ArrowLeft: () => shown[at - 1],
    ArrowDown: () => tileInRow(tile, 1),
    ArrowUp: () => tileInRow(tile, -1),
    Home: () => ofCategory[0],
    End: () => ofCategory.at(-1),
  }[event.key]?.();
  if (!target) return;
  TILES.focusable(target);
  target.focus();
  if (event.shiftKey && CAN_CORRECT) select([numberOf(tile), numberOf(target)]);
}

MAIN.addEventListener("keydown", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Enter" || (event.key === " " && !CAN_CORRECT)) WHOLE.show(tile);
  else if (event.key === " ") clickTile(tile, event);
  else if (/^(Arrow|Home|End)/.test(event.key)) moveFocus(tile, event);
  else return;
  event.preventDefault();
});

MAIN.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  const button = event.target.closest("button");
  if (hasDragged) return;
  if (tile) clickTile(tile, event);
  else if (button) pressed(button);
});

MAIN.addEventListener("dblclick", (event) => {
  const tile = event.target.closest(".tile");
  if (tile && CAN_CORRECT && !event.target.closest(".open")) WHOLE.show(tile); // both clicks cancel out
});

// -- a frame around tiles (mouse only: a finger scrolls) -----------------------------------------

function startFrame(event) {
  if (event.pointerType !== "mouse" || event.button || event.target.closest("button, summary, pre, a")) return;
  const from = { x: event.pageX, y: event.pageY };
  let frame = null;
  let boxes = [];

  const move = ({ pageX, pageY }) => {
    const box = {
      left: Math.min(from.x, pageX),
      top: Math.min(from.y, pageY),
      right: Math.max(from.x, pageX),
      bottom: Math.max(from.y, pageY),
    };
    const [width, height] = [box.right - box.left, box.bottom - box.top];
    if (!frame && width < 6 && height < 6) return;
    if (!frame) {
      frame = document.body.appendChild(element("div", { className: "rubber" }));
      boxes = TILES.shown().map((tile) => [tile, tile.getBoundingClientRect(), isSelected(tile)]);
      boxes = boxes.map(([tile, at, was]) => [tile, new DOMRect(at.x + scrollX, at.y + scrollY, at.width, at.height), was]);
    }
    // The body may be narrower than the window, and the frame is placed in the window.
    Object.assign(frame.style, { left: `${box.left}px`, top: `${box.top}px`, width: `${width}px`, height: `${height}px` });
    for (const [tile, at, was] of boxes) {
      const isIn = at.left < box.right && at.right > box.left && at.top < box.bottom && at.bottom > box.top;
      if (isSelected(tile) !== (was || isIn)) select([numberOf(tile)], was || isIn);
    }
  };
  const end = () => {
    removeEventListener("pointermove", move);
    frame?.remove();
    hasDragged = frame !== null;
    setTimeout(() => (hasDragged = false)); // after the click that the browser sends now
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end, { once: true });
}
