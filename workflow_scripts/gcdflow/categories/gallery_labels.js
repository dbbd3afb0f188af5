"use strict";
/* Names, changes of labels, and the text of labels.csv that they give. Nothing here touches the page. */

/** Names as the `labels` stage reads them (gcdflow.data.class_names, which sends its rules). */
class Names {
  constructor(rules) {
    const expression = (pattern, flags) =>
      new RegExp(pattern.replaceAll("\\w", "[\\p{L}\\p{N}_]"), `u${flags}`);
    this.spaces = expression(rules.spaces, "g");
    this.invisible = expression(rules.invisible, "g");
    this.around = new Set(rules.around);
    this.nothing = new Set(rules.nothing);
    this.nothingAsItStands = new Set(rules.nothingAsItStands);
    this.abbreviated = expression(`^(?:${rules.abbreviated})$`, "");
    this.errorOfSpreadsheet = expression(`^(?:${rules.errorOfSpreadsheet})$`, "");
    this.real = new Set(rules.real.map((name) => Names.folded(this.tidied(name))));
    this.inTable = rules.known;
    this.use([]);
  }

  /** Text without the difference of upper and lower case, as Python's casefold. */
  static folded(text) {
    const fold = (c) => (c === "ı" ? c : c.toUpperCase().toLowerCase());
    return Array.from(text, fold).join("").replaceAll("ς", "σ");
  }

  tidied(name) {
    return name.normalize("NFC").replace(this.invisible, "").replace(this.spaces, " ").trim();
  }

  saysNothing(name) {
    const text = Names.folded(name);
    const characters = Array.from(text);
    const isBare = (c) => !this.around.has(c);
    const core = characters.slice(characters.findIndex(isBare), characters.findLastIndex(isBare) + 1);
    const word = characters.some(isBare) ? core.join("") : "";
    return (
      !word ||
      this.nothing.has(word) ||
      this.nothingAsItStands.has(text) ||
      this.abbreviated.test(word) ||
      this.errorOfSpreadsheet.test(text)
    );
  }

  /** The name that somebody typed, spelled as elsewhere in the table; or why it cannot be a name. */
  read(typed) {
    const name = this.tidied(typed);
    const folded = Names.folded(name);
    if (!name) return { problem: "Type a name first." };
    if (/[\p{Cc}\p{Cs}]/u.test(name))
      return { problem: "The name holds a control character; type it again." };
    if (this.saysNothing(name) && !this.real.has(folded))
      return {
        problem: `“${name}” means “no label” in labels.csv. If it is a class, list it in dataset.real_classes.`,
      };
    return { name: this.known.get(folded) ?? name };
  }

  /** Know these names too, beside those of the table, and forget others, which were taken back. */
  use(names) {
    this.known = new Map([...names, ...this.inTable].map((name) => [Names.folded(name), name]));
  }

  sorted() {
    return [...this.known.values()].sort((a, b) => a.localeCompare(b));
  }
}

/**
 * What somebody changed, step by step. Each picture has a label ("" is none), and may be set aside:
 * it does not belong to its category, which a table of labels cannot say.
 */
class Changes {
  constructor(pictures) {
    this.pictures = pictures;
    this.steps = [];
    this.undone = [];
    this.now = new Map(); // number of a picture to {label, aside}, where it differs from the start
  }

  start(n) {
    return { label: this.pictures[n].label ?? "", aside: false };
  }

  of(n) {
    return this.now.get(n) ?? this.start(n);
  }

  /**
   * Give pictures new states, [[n, {label, aside}], …], as one step; returns how many changed. Files
   * of the same content are one photograph: its lines in the table must not contradict each other.
   */
  make(title, states) {
    const all = new Map();
    for (const [n, state] of states) {
      const alike = this.pictures[n].alike ?? [n];
      alike.filter((m) => !this.pictures[m].locked).forEach((m) => all.set(m, state));
    }
    const changed = [...all]
      .map(([n, after]) => ({ n, before: this.of(n), after }))
      .filter(({ before, after }) => before.label !== after.label || before.aside !== after.aside);
    if (changed.length) {
      this.steps.push({ title, changed });
      this.undone = [];
      changed.forEach(({ n, after }) => this.set(n, after));
    }
    return changed.length;
  }

  set(n, state) {
    const start = this.start(n);
    if (state.label === start.label && state.aside === start.aside) this.now.delete(n);
    else this.now.set(n, state);
  }

  /** Take the last step back; returns it, or undefined if there is none. */
  undo() {
    const step = this.steps.pop();
    if (step) {
      this.undone.push(step);
      step.changed.forEach(({ n, before }) => this.set(n, before));
    }
    return step;
  }

  redo() {
    const step = this.undone.pop();
    if (step) {
      this.steps.push(step);
      step.changed.forEach(({ n, after }) => this.set(n, after));
    }
    return step;
  }

  /** Pictures whose label differs from that in the table, and the label. */
  labels() {
    return new Map(
      [...this.now].filter(([n, { label }]) => label !== this.start(n).label).map(([n, s]) => [n, s.label]),
    );
  }
}

/** The text of labels.csv with changed labels; everything else is as the user wrote it. */
function labelsText(table, pictures, labels) {
  const pieces = [...table.pieces];
  const lines = [];
  for (const [n, label] of labels) {
    const cells = table.cells[n] ?? [];
    for (const { piece, before, isQuoted } of cells) {
      pieces[piece] = before + written(label, table.delimiter, isQuoted);
    }
    // A label without a cell came from the line of an earlier path, which one of this path overrules.
    if (!cells.length && (label || pictures[n].label)) lines.push({ path: pictures[n].path, label });
  }
  let text = pieces.join("");
  if (lines.length && !/[\r\n]$/.test(text)) text += table.newline;
  for (const line of lines) {
    const cells = table.columns.map((column) => written(line[column] ?? "", table.delimiter));
    text += cells.join(table.delimiter) + table.newline;
  }
  return text;
}

function written(text, delimiter, isQuoted = false) {
  const needsQuotes = isQuoted || /["\r\n]|^\s|\s$/.test(text) || text.includes(delimiter);
  return needsQuotes ? `"${text.replaceAll('"', '""')}"` : text;
}
