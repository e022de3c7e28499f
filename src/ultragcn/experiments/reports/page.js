"use strict";
// A click, or Enter, on a column's name sorts by it; once more turns the order round. What is not there stays last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const number = (row) => row.cells[head.cellIndex].dataset.number;
    const text = (row) => row.cells[head.cellIndex].textContent;
    const compare = (one, other) => {
      if (number(one) !== undefined && number(other) !== undefined) return number(one) - number(other);
      return text(one).localeCompare(text(other), undefined, {numeric: true});
    };
    const rank = (row) => (number(row) !== undefined ? 0 : text(row) ? 1 : 2); // numbers, words, nothing
    const rows = Array.from(body.rows);
    rows.sort((one, other) => rank(one) - rank(other) || (ascending ? compare(one, other) : compare(other, one)));
    body.append(...rows);
  });
}
