"use strict";
// The whole behaviour of the report: sorting, the reference of the table, and the differences query by query.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 30;
  const at = (id) => document.getElementById(id);
  const signed = (x) => (x < 0 ? "\u2212" : x > 0 ? "+" : "\u00b1") + Math.abs(x).toFixed(4);
  const chance = (p) => (p < 0.0002 ? "p < 0.001" : `p = ${p.toFixed(p < 0.01 ? 4 : 3)}`);
  const tone = (x) => (x > 0 ? "good" : x < 0 ? "bad" : "");
  const plural = (n, one) => `${n} ${n === 1 ? one : one === "query" ? "queries" : one + "s"}`;

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // Difference a - b and its p, on one set or on the mean over sets; each pair is stored once.
  function tested(a, b, set) {
    const kept = data.tests[set];
    if (kept[`${a} ${b}`]) return kept[`${a} ${b}`];
    const other = kept[`${b} ${a}`];
    return other && [-other[0], other[1]];
  }

  // The table: which system the others are held against, and the order of the rows.
  const table = at("systems");
  function refer() {
    const reference = Number(at("reference").value);
    for (const row of table.tBodies[0].rows) {
      const found = tested(Number(row.dataset.system), reference, "all");
      const [difference, p] = [row.querySelector(".difference"), row.querySelector(".p")];
      difference.textContent = found ? signed(found[0]) : "\u2013";
      difference.dataset.value = found ? found[0] : 0;
      difference.className = `difference ${found && found[1] < 0.05 ? tone(found[0]) : ""}`;
      p.textContent = found ? (found[1] < 0.0002 ? "< 0.001" : found[1].toFixed(4)) : "\u2013";
      p.dataset.value = found ? found[1] : 1;
    }
  }
  for (const head of table.tHead.rows[0].cells) {
    const button = head.querySelector("button");
    if (!button) continue;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "none" ? head.dataset.first === "down"
        : head.getAttribute("aria-sort") === "ascending";
      for (const each of table.tHead.rows[0].cells) each.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
      const rows = [...table.tBodies[0].rows].sort((one, two) => {
        const [x, y] = [value(one), value(two)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what was not measured stays at the foot
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  }
  at("reference").addEventListener("change", refer);
  refer();

  // Query by query.
  let shown = PAGE;
  const chosen = () => ({
    a: Number(at("side-a").value), b: Number(at("side-b").value),
    set: data.sets[Number(at("set").value)], which: at("which").value,
  });

  function document_(set, [id, grade, ranks], side, other) {
    const [title, text, characters] = set.documents[id];
    const item = make("li", grade >= set.relevant_from ? { class: "relevant" } : {});
    const judged = grade === null ? "not judged" : grade >= set.relevant_from ? `relevant (grade ${grade})` : `not relevant (grade ${grade})`;
    const elsewhere = `${data.systems[other]}: ${ranks[other] ? `place ${ranks[other]}` : "not listed"}`;
    item.append(make("div", { class: "head" }, make("b", {}, `${ranks[side]}.`),
      make("span", { class: "grade" }, judged), ...(side === other ? [] : [make("span", {}, elsewhere)])));
    if (title) item.append(make("strong", {}, title));
    item.append(text);
    if (characters > text.length) {
      item.append(make("span", { class: "soft" }, ` \u2026 (${text.length} of ${characters} characters shown)`));
    }
    return item;
  }

  function fill(details, set, query, a, b) {
    const sides = make("div", { class: "sides", tabindex: "0", role: "group", "aria-label": "Both rankings" });
    if (!query.documents) {
      details.append(make("p", { class: "soft" }, `This file holds texts for the queries that differ most. The document ids are in the runs beside it (query ${query.id}).`));
      return;
    }
    for (const [side, other] of [[a, b], [b, a]]) {
      const listed = query.documents.filter((one) => one[2][side] && one[2][side] <= data.top)
        .sort((one, two) => one[2][side] - two[2][side]);
      const list = make("ol", {}, ...listed.map((one) => document_(set, one, side, other)));
      const name = make("h3", {}, `${data.systems[side]}: ${query.values[side].toFixed(4)}`);
      const nothing = listed.length ? [] : [make("p", { class: "soft" }, "No candidates for this query.")];
      sides.append(make("section", { "aria-label": data.systems[side] }, name, list, ...nothing));
    }
    details.append(sides);
  }

  function show() {
    const { a, b, set, which } = chosen();
    const all = set.queries.map((query) => ({ query, difference: query.values[a] - query.values[b] }));
    const won = all.filter((one) => one.difference > 1e-9), lost = all.filter((one) => one.difference < -1e-9);
    const alike = all.length - won.length - lost.length;
    const test = tested(a, b, set.name);
    const [first, second] = [data.systems[a], data.systems[b]];
    at("summary").textContent = a === b ? "Choose two different systems."
      : `On ${set.name}, ${first} beats ${second} on ${plural(won.length, "query")}, loses on ${lost.length}, and ${alike} come out alike. `
        + `Mean difference ${signed(test[0])} ${data.metric}, ${chance(test[1])}.`;
    at("share").replaceChildren(...[["won", won.length], ["alike", alike], ["lost", lost.length]].map(
      ([name, n]) => make("div", { class: name, style: `flex:${n}` })));
    const rows = which === "lost" ? lost : which === "won" ? won : all;
    rows.sort((one, two) => (which === "lost" ? one.difference - two.difference : two.difference - one.difference));
    at("queries").replaceChildren(...rows.slice(0, shown).map(({ query, difference }) => {
      const values = make("small", {}, `${query.values[a].toFixed(3)} : ${query.values[b].toFixed(3)}`);
      const delta = make("span", { class: "delta" }, make("span", { class: tone(difference) }, signed(difference)), values);
      const details = make("details", { class: "query" },
        make("summary", {}, make("span", { class: "words" }, query.text), delta));
      details.addEventListener("toggle", () => {
        if (details.open && details.childElementCount === 1) fill(details, set, query, a, b);
      });
      return details;
    }));
    const left = rows.length - Math.min(shown, rows.length);
    at("more").hidden = left === 0;
    at("more").textContent = `Show ${Math.min(PAGE, left)} more of ${left}`;
    if (!rows.length) at("queries").append(make("p", { class: "soft" }, "No such query."));
  }
  for (const id of ["side-a", "side-b", "set", "which"]) {
    at(id).addEventListener("change", () => { shown = PAGE; show(); });
  }
  at("more").addEventListener("click", () => {
    const next = shown;
    shown += PAGE;
    show();
    at("queries").children[next]?.firstElementChild.focus();
  });
  show();
  if (at("queries").querySelector("details")) at("queries").querySelector("details").open = true;
})();
