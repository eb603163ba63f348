"use strict";
// The list of examples: which are shown, and in what order. Without this script all are, in their own order.
const AT_FIRST = 12;
for (const section of document.querySelectorAll("[data-examples]")) {
  const list = section.querySelector(".examples");
  const controls = section.querySelector(".controls");
  const more = section.querySelector(".more");
  const all = Array.from(list.children);
  const value = (name) => controls.querySelector(`[data-control="${name}"]`).value;
  const compare = {
    page: () => 0,
    change: (a, b) => Math.abs(b.dataset.change) - Math.abs(a.dataset.change),
    id: (a, b) => a.dataset.id.localeCompare(b.dataset.id, undefined, { numeric: true }),
  };
  let most = AT_FIRST;
  const update = () => {
    const words = value("text").trim().toLocaleLowerCase();
    const wanted = (item) =>
      (value("language") === "" || item.dataset.language === value("language")) &&
      (value("kind") === "" || item.dataset.kind === value("kind")) &&
      (words === "" || item.textContent.toLocaleLowerCase().includes(words));
    const ordered = all.slice().sort(compare[value("order")]);
    const fitting = ordered.filter(wanted);
    const shown = new Set(fitting.slice(0, most));
    for (const item of all) item.hidden = !shown.has(item);
    list.append(...ordered);
    controls.querySelector("output").textContent = `${shown.size} of ${fitting.length} shown`;
    more.hidden = shown.size === fitting.length;
    more.textContent = `Show all ${fitting.length}`;
  };
  controls.addEventListener("input", () => {
    most = AT_FIRST;
    update();
  });
  more.addEventListener("click", () => {
    most = all.length;
    update();
  });
  controls.hidden = false;
  update();
}
