// Tables of operations sort by the column whose name is chosen; at first they stand in the order of the data.
for (const table of document.querySelectorAll(".operations")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  const value = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent.trim();
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") !== "descending", numbers = "value" in rows[0].cells[at].dataset;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const rises = (a, b) => numbers ? value(a, at) - value(b, at) : value(a, at).localeCompare(value(b, at));
      body.append(...rows.sort((a, b) => falls ? rises(b, a) : rises(a, b)));
    });
  });
}
