"use strict";
// Sorts and filters the clips of a folder. Only one page of rows is in the document at a time, so that ten thousand
// clips stay as quick as ten; without this script the table is whole.
(() => {
  const PAGE = 200;
  const FILE = 0, SCORE = 2;
  const element = (id) => document.getElementById(id);
  const body = document.querySelector("tbody");
  const heads = [...document.querySelectorAll("thead th")];
  const collator = new Intl.Collator("en", { numeric: true });
  const clips = [...body.rows].map((row) => {
    const cells = [...row.cells].map((cell) => cell.textContent);
    const key = (text, k) => {
      // Verdicts sort by how serious they are.
      if (row.cells[k].dataset.order !== undefined) return Number(row.cells[k].dataset.order);
      return heads[k].classList.contains("num") ? (text === "" ? null : Number(text)) : text;
    };
    return {
      row,
      keys: cells.map(key),
      verdict: row.dataset.verdict,
      text: `${cells[FILE]}\n${cells[cells.length - 1]}`.toLocaleLowerCase(),
    };
  });
  let shown = clips;
  let first = 0;

  function draw() {
    body.replaceChildren(...shown.slice(first, first + PAGE).map((clip) => clip.row));
    const last = Math.min(first + PAGE, shown.length);
    element("place").textContent = shown.length ? `${first + 1} to ${last} of ${shown.length}` : "";
    element("previous").disabled = first === 0;
    element("next").disabled = last === shown.length;
    element("pager").hidden = shown.length <= PAGE;
  }

  function filter() {
    const text = element("text").value.trim().toLocaleLowerCase();
    const verdict = element("verdict").value;
    const score = Number(element("score").value);
    shown = clips.filter(
      (clip) =>
        clip.text.includes(text) &&
        (verdict === "" || clip.verdict === verdict) &&
        (score <= 0 || (clip.keys[SCORE] !== null && clip.keys[SCORE] >= score)),
    );
    first = 0;
    element("status").textContent = `${shown.length} of ${clips.length} clips shown`;
    draw();
  }

  function compare(column, sign) {
    return (a, b) => {
      const x = a.keys[column], y = b.keys[column];
      // What has no value stays at the end, whichever way the rest is sorted.
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "number" ? x - y : collator.compare(x, y));
    };
  }

  function sort(column) {
    const before = heads[column].getAttribute("aria-sort");
    const usual = heads[column].classList.contains("num") ? "descending" : "ascending";
    const other = usual === "descending" ? "ascending" : "descending";
    const now = before === usual ? other : usual;
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", now);
    clips.sort(compare(column, now === "ascending" ? 1 : -1));
    filter();
  }

  function turn(step, button, other) {
    first += step;
    draw();
    // A disabled button loses the focus to nowhere.
    if (element(button).disabled) element(other).focus();
    body.closest(".scroll").scrollIntoView({ block: "nearest" });
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(column));
    head.replaceChildren(button);
  });
  for (const id of ["text", "verdict", "score"]) element(id).addEventListener("input", filter);
  element("filters").addEventListener("submit", (event) => event.preventDefault());
  element("previous").addEventListener("click", () => turn(-PAGE, "previous", "next"));
  element("next").addEventListener("click", () => turn(PAGE, "next", "previous"));
  addEventListener("beforeprint", () => body.replaceChildren(...shown.map((clip) => clip.row)));
  addEventListener("afterprint", draw);
  element("filters").hidden = false;
  filter();
})();
