// Sorts the table, and shows a picture large. Without it the page shows the same things, unsorted.
"use strict";

const element = (id) => document.getElementById(id);

// ------------------------------------------------------------------------------------------------ the table

const heads = [...element("numbers").tHead.rows[0].cells];
const body = element("numbers").tBodies[0];
const given = [...body.rows]; // equal rows stay in this order

// A number, a name, or null for what is always last.
function keyOf(cell) {
  if (cell.matches(".error, .undefined")) return null;
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}

// Numbers by size, then names by the alphabet, as the table in Python sorts itself.
function compare(one, other) {
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return typeof one === "number" ? one - other : one.localeCompare(other);
}

function sortBy(head) {
  const key = (row) => keyOf(row.cells[head.cellIndex]);
  const [known, missing] = [given.filter((row) => key(row) !== null), given.filter((row) => key(row) === null)];
  const before = head.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : known.some((row) => typeof key(row) === "number");
  known.sort((one, other) => (descending ? -1 : 1) * compare(key(one), key(other)));
  for (const each of heads) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...known, ...missing);
}

for (const head of heads) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sortBy(head));
  head.append(button);
}

// ------------------------------------------------------------------------------------------------ the pictures

const grid = [...document.querySelectorAll("#pictures tbody tr")].map((row) => [...row.querySelectorAll(".picture")]);
const pictures = grid.flat();
const view = element("view");
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }; // rows, columns
const BUTTONS = { previous: "ArrowLeft", next: "ArrowRight", above: "ArrowUp", below: "ArrowDown" };
let shown = null; // the picture in the large view

function neighbour(picture, key) {
  const [down, across] = STEPS[key];
  const row = grid.findIndex((each) => each.includes(picture));
  return grid[row + down]?.[grid[row].indexOf(picture) + across];
}

// Only one picture at a time can be reached by Tab, so that Tab leads past hundreds of them.
function stopAt(picture) {
  for (const each of pictures) each.tabIndex = each === picture ? 0 : -1;
}

function focusOn(picture) {
  stopAt(picture);
  picture.focus();
}

function fill(figure, picture) {
  const [image, caption] = figure.children;
  const [title, scale] = picture.nextElementSibling.children;
  Object.assign(image, { src: picture.src, alt: picture.alt });
  image.classList.toggle("sharp", picture.classList.contains("sharp"));
  caption.textContent = [title.textContent, scale.textContent].filter(Boolean).join(", ");
  return title.textContent;
}

// A map is shown beside its image.
function show(picture) {
  shown = picture;
  const image = grid.find((row) => row.includes(picture))[0];
  fill(element("view-image"), image);
  element("view-title").textContent = fill(element("view-map"), picture);
  element("view-map").hidden = picture === image;
  element("view-label").textContent = picture.closest("tr").cells[0].textContent;
  for (const [id, key] of Object.entries(BUTTONS)) element(id).disabled = !neighbour(picture, key);
  if (!view.open) view.showModal();
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const picture = view.open ? shown : event.target.closest(".picture");
  if (!picture) return;
  if (event.key in STEPS) {
    const next = neighbour(picture, event.key);
    if (next) (view.open ? show : focusOn)(next);
  } else if (!view.open && (event.key === "Enter" || event.key === " ")) show(picture);
  else return;
  event.preventDefault();
}

for (const picture of pictures) {
  picture.setAttribute("role", "button");
  picture.setAttribute("aria-haspopup", "dialog");
  picture.addEventListener("click", () => show(picture));
}
for (const keys of document.querySelectorAll(".keys")) keys.hidden = false;
if (pictures.length) stopAt(pictures[0]);
for (const [id, key] of Object.entries(BUTTONS)) element(id).addEventListener("click", () => show(neighbour(shown, key)));
element("close").addEventListener("click", () => view.close());
view.addEventListener("click", (event) => { if (event.target === view) view.close(); }); // beside it
view.addEventListener("close", () => focusOn(shown));
document.addEventListener("keydown", pressed);
