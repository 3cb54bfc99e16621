// Names on hover: finds the point nearest to the pointer and says what it is.
"use strict";
const groups = JSON.parse(document.getElementById("names").textContent);
const tip = document.getElementById("tip");
const MOST = 10;

function textOf(group, point, label) {
  const position = group.points[point][label];
  return position < 0 ? "decides nothing" : group.texts[label][position];
}

function linesOf(group, point) {
  const labels = [...group.labels.keys()];
  if (point === 0) return ["", labels.map((l) => `${group.labels[l]}: ${textOf(group, 0, l)}`)];
  const differing = labels.filter((l) => group.points[point][l] !== group.points[0][l]);
  const head = `differs from the first in ${differing.length} of ${labels.length}`;
  return [head, differing.map((l) => `${group.labels[l]}: ${textOf(group, point, l)} instead of ${textOf(group, 0, l)}`)];
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text; // never markup
  return made;
}

function show(group, point, event) {
  const values = group.quantities.map((name, i) => `${name} ${group.values[point][i]}`);
  const [head, lines] = linesOf(group, point);
  const more = lines.length > MOST ? [`and ${lines.length - MOST} more`] : [];
  tip.replaceChildren(
    element("b", `${point + 1}. ${values.join(", ")}`),
    ...(head ? [element("div", head)] : []),
    ...[...lines.slice(0, MOST), ...more].map((line) => element("div", line)),
  );
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const right = event.clientX + 18 + box.width < innerWidth;
  const x = right ? event.clientX + 18 : event.clientX - 18 - box.width;
  const y = event.clientY + 18 + box.height < innerHeight ? event.clientY + 18 : event.clientY - 18 - box.height;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, y)}px`;
}

for (const area of document.querySelectorAll(".cloud .area")) {
  const group = groups[area.dataset.group];
  const places = group.places[area.dataset.plot];
  const ring = area.querySelector(".ring");
  const leave = () => {
    tip.hidden = true;
    ring.style.display = "none";
  };
  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    let nearest = -1, least = 30 ** 2; // px
    places.forEach(([x, y], index) => {
      const dx = box.left + (x / 100) * box.width - event.clientX;
      const dy = box.bottom - (y / 100) * box.height - event.clientY;
      if (dx * dx + dy * dy < least) [nearest, least] = [index, dx * dx + dy * dy];
    });
    if (nearest < 0) return leave();
    ring.style.display = "block";
    ring.style.left = `${places[nearest][0]}%`;
    ring.style.bottom = `${places[nearest][1]}%`;
    show(group, nearest, event);
  });
  area.addEventListener("pointerleave", leave);
}
