"use strict";
/* Tiles of the page: which there are, what they say, and the view of a whole picture. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const MAIN = document.querySelector("main");
const INVISIBLE = new RegExp(DATA.invisible, "g");
const TOGETHER = 500; // tiles that one frame adds at most, so that the page stays responsive

/** A text for people: what would hide or turn parts of it is written as an escape. */
function visible(text) {
  return text.replace(INVISIBLE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** All tiles, by number of their picture. Those beyond the first ones are made when they are asked for. */
class Tiles {
  constructor(changes) {
    this.changes = changes; // null if nothing can be changed
    this.byNumber = new Map();
    this.categoryOf = [];
    this.rank = []; // of each picture in its category
    DATA.categories.forEach(({ members }, c) =>
      members.forEach((n, rank) => {
        this.categoryOf[n] = c;
        this.rank[n] = rank;
      }),
    );
    this.sections = [...MAIN.querySelectorAll("section[data-category]")];
    for (const tile of MAIN.querySelectorAll(".tile")) this.dress(tile, Number(tile.dataset.n));
    MAIN.addEventListener("error", (event) => this.missing(event.target), true);
    if (changes) {
      for (const grid of MAIN.querySelectorAll(".grid")) this.dressGrid(grid);
    }
    this.keepInTabOrder();
  }

  dressGrid(grid) {
    grid.setAttribute("role", "listbox");
    grid.setAttribute("aria-multiselectable", "true");
    const part = grid.closest(".tail, .extra")?.querySelector("p").textContent;
    const name = `Pictures of ${visible(this.nameAt(grid))}`;
    grid.setAttribute("aria-label", part ? `${name}: ${part}` : name);
  }

  nameAt(node) {
    return DATA.categories[node.closest("section").dataset.category].name;
  }

  dress(tile, n) {
    this.byNumber.set(n, tile);
    tile.tabIndex = -1;
    tile.setAttribute("role", this.changes ? "option" : "button");
    if (this.changes) tile.setAttribute("aria-selected", "false");
    const hidden = { ariaHidden: "true" };
    if (this.changes) tile.append(element("span", { className: "mark", textContent: "✓", ...hidden }));
    tile.append(element("span", { className: "open", textContent: "⤢", title: "Whole picture", ...hidden }));
    this.describe(n);
  }

  /** What a picture is, in words. */
  about(n) {
    const picture = DATA.pictures[n];
    const sure = picture.problem ?? `confidence ${(picture.confidence ?? 0).toFixed(2)}`;
    const said = [picture.label ? `labelled ${picture.label}` : sure];
    if (picture.suggested) said.push(`the clustering suggests ${picture.suggested}`);
    if (picture.doubtful) said.push("doubtful");
    if (picture.locked) said.push(`cannot be labelled: it ${picture.locked}`);
    const change = this.change(n);
    if (change) said.push(`changed: ${change}`);
    return visible(said.join("; "));
  }

  /** The change of a picture in a word or two; "" if there is none. */
  change(n) {
    if (!this.changes?.now.has(n)) return "";
    const { label, aside } = this.changes.of(n);
    if (aside) return "not this";
    return label || "no label";
  }

  describe(n) {
    const tile = this.byNumber.get(n);
    if (!tile) return;
    const text = `${visible(DATA.pictures[n].path)}, ${this.about(n)}`;
    tile.title = text;
    tile.setAttribute("aria-label", text);
    tile.classList.toggle("locked", Boolean(DATA.pictures[n].locked));
    tile.querySelector(".now")?.remove();
    const change = this.change(n);
    if (change) {
      tile.append(element("span", { className: "now", textContent: visible(change), ariaHidden: "true" }));
    }
    tile.classList.toggle("aside", Boolean(this.changes?.of(n).aside));
  }

  /** The tile of a picture, which is made if it is not there yet. */
  make(n) {
    const known = this.byNumber.get(n);
    if (known) return known;
    const picture = DATA.pictures[n];
    const image = element("img", { alt: "", loading: "lazy", decoding: "async" });
    if (picture.source.startsWith("data:image/png")) image.className = "pixels";
    image.src = picture.source;
    const tile = element("span", { className: "tile" }, image);
    tile.dataset.n = n;
    if (picture.label) tile.classList.add("labelled");
    if (picture.suggested) tile.classList.add("questioned");
    if (picture.doubtful) tile.classList.add("doubtful");
    const grid = this.extraGrid(this.categoryOf[n]);
    let before = grid.lastElementChild; // a search may have made later ones
    while (before && this.rank[before.dataset.n] > this.rank[n]) before = before.previousElementSibling;
    if (before) before.after(tile);
    else grid.prepend(tile);
    this.dress(tile, n);
    return tile;
  }

  /** The place of a category's pictures that the page does not show at first. */
  extraGrid(c) {
    const section = this.sections[c];
    let extra = section.querySelector(".extra");
    if (!extra) {
      const grid = element("div", { className: "grid" });
      extra = element("div", { className: "extra" }, element("p", { textContent: "the others" }), grid);
      section.querySelector(".images").after(extra);
      if (this.changes) this.dressGrid(grid);
    }
    return extra.querySelector(".grid");
  }

  /** Show or hide all pictures of a category. */
  async expand(c, button) {
    const section = this.sections[c];
    const isOpen = section.classList.toggle("expanded");
    const { members } = DATA.categories[c];
    button.setAttribute("aria-expanded", String(isOpen));
    button.textContent = isOpen ? "Show fewer" : `Show all ${members.length}`;
    section.querySelectorAll(".more").forEach((more) => (more.hidden = isOpen));
    const absent = isOpen ? members.filter((n) => !this.byNumber.has(n)) : [];
    this.settle();
    for (let at = 0; at < absent.length; at += TOGETHER) {
      absent.slice(at, at + TOGETHER).forEach((n) => this.make(n));
      await new Promise(requestAnimationFrame);
    }
    this.settle();
  }

  /** Show the pictures whose file names hold a text, all of them; "" ends that. */
  find(text) {
    this.wanted = text.normalize("NFC").toLowerCase();
    let found = 0;
    DATA.pictures.forEach((picture, n) => {
      if (this.fits(picture)) {
        found += 1;
        if (this.wanted && found <= TOGETHER) this.make(n);
      }
    });
    this.settle();
    return found;
  }

  fits(picture) {
    return !this.wanted || picture.path.normalize("NFC").toLowerCase().includes(this.wanted);
  }

  /** Hide what the search does not look for, and what "show all" does not ask for. */
  settle() {
    for (const [n, tile] of this.byNumber) {
      const isExtra = tile.closest(".extra") && !tile.closest(".expanded");
      tile.hidden = !this.fits(DATA.pictures[n]) || (isExtra && !this.wanted);
    }
    for (const part of MAIN.querySelectorAll(".extra, .tail, section[data-category]")) {
      const isEmpty = !part.querySelector(".tile:not([hidden]), pre");
      part.hidden = isEmpty && (Boolean(this.wanted) || part.matches(".extra"));
    }
    for (const same of MAIN.querySelectorAll(".same")) same.hidden = Boolean(this.wanted);
    this.keepInTabOrder();
  }

  /** The tab key reaches one tile of each grid. */
  keepInTabOrder() {
    for (const grid of MAIN.querySelectorAll(".grid")) {
      const first = grid.querySelector(".tile:not([hidden])");
      if (first && !grid.querySelector('.tile[tabindex="0"]:not([hidden])')) this.focusable(first);
    }
  }

  /** Make a tile the one of its grid that the tab key reaches; arrows lead on from it. */
  focusable(tile) {
    for (const other of tile.closest(".grid").querySelectorAll('.tile[tabindex="0"]')) other.tabIndex = -1;
    tile.tabIndex = 0;
  }

  /** The tiles that can be seen, in the order of the page; of one category if it is given. */
  shown(c) {
    return [...(c === undefined ? MAIN : this.sections[c]).querySelectorAll(".tile:not([hidden])")];
  }

  missing(image) {
    const tile = image.closest?.(".tile");
    if (!tile) return;
    tile.classList.add("missing");
    tile.prepend(visible(DATA.pictures[tile.dataset.n].path.split("/").pop()));
    const notice = document.getElementById("notice");
    notice.hidden = false;
    notice.textContent = `The folder “${DATA.thumbs}” is not beside this page, or lacks files: some pictures are shown by name only.`;
  }
}

/** The view of one whole picture: the original where the browser reaches it, else its thumbnail. */
class Whole {
  constructor(tiles, pick) {
    this.tiles = tiles;
    this.pick = pick; // called with a tile; null if nothing can be selected
    this.dialog = document.getElementById("whole");
    this.image = this.dialog.querySelector("img");
    this.image.addEventListener("error", () => this.fallBack());
    this.dialog.addEventListener("click", (event) => {
      const action = event.target.dataset.do;
      if (action) this.do(action);
      else if (event.target === this.dialog) this.do("close");
    });
    this.dialog.addEventListener("keydown", (event) => {
      const isOfButton = event.target.dataset.do && /^(Enter| )$/.test(event.key);
      const action = { ArrowLeft: "back", ArrowRight: "on", " ": "pick", Enter: "close" }[event.key];
      if (!action || isOfButton) return;
      event.preventDefault();
      this.do(action);
    });
    this.dialog.addEventListener("close", () => this.tile.focus());
  }

  do(action) {
    const shown = this.tiles.shown();
    const at = shown.indexOf(this.tile);
    if (action === "close") this.dialog.close();
    if (action === "back" && at > 0) this.show(shown[at - 1]);
    if (action === "on" && at < shown.length - 1) this.show(shown[at + 1]);
    if (action === "pick" && this.pick) {
      this.pick(this.tile);
      this.say();
    }
  }

  show(tile) {
    this.tile = tile;
    this.tiles.focusable(tile);
    this.note = "";
    this.image.className = "";
    this.image.src = this.original() ?? tile.querySelector("img").src;
    if (!this.original()) this.image.className = tile.querySelector("img").className + " small";
    this.say();
    if (this.dialog.open) return;
    this.dialog.showModal();
    this.dialog.focus(); // and not its first button, which would take the keys
  }

  original() {
    if (DATA.originals === null) return null;
    try {
      return DATA.originals + DATA.pictures[this.tile.dataset.n].path.split("/").map(encodeURIComponent).join("/");
    } catch {
      return null; // a name that is no text
    }
  }

  fallBack() {
    const small = this.tile.querySelector("img").src;
    if (this.image.src === small) return;
    this.image.className = `${this.tile.querySelector("img").className} small`;
    this.image.src = small;
    this.note = "This is its thumbnail: the file is not where it was, or the browser cannot show its format. ";
    this.say();
  }

  say() {
    const n = Number(this.tile.dataset.n);
    const path = visible(DATA.pictures[n].path);
    this.dialog.querySelector(".path").textContent = path;
    this.dialog.querySelector(".about").textContent =
      `${this.note}${visible(this.tiles.nameAt(this.tile))}; ${this.tiles.about(n)}.`;
    this.image.alt = path;
    const button = this.dialog.querySelector('[data-do="pick"]');
    if (button) {
      button.textContent = this.tile.getAttribute("aria-selected") === "true" ? "Selected ✓" : "Select";
    }
  }
}
