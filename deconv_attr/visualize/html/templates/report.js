// Shows a picture large. Without it the page shows the same things.
const grid = [...document.querySelectorAll("#pictures .row")].map((row) => [...row.querySelectorAll(".picture")]);
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }; // rows, columns
let shown = null; // the picture in the large view

function neighbour(picture, key) {
  const [down, across] = STEPS[key];
  const row = grid.findIndex((each) => each.includes(picture));
  return grid[row + down]?.[grid[row].indexOf(picture) + across];
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
  const title = fill(element("view-map"), picture);
  element("view-map").hidden = picture === image;
  element("view-label").textContent = picture.closest(".row").querySelector(".label").textContent;
  openView(title, (key) => neighbour(picture, key));
}

function pressed(key, target) {
  const picture = view.open ? shown : target.closest(".picture");
  if (!picture) return false;
  if (key in STEPS) {
    const next = neighbour(picture, key);
    if (next) (view.open ? show : focusOn)(next);
    return true;
  }
  if (view.open || (key !== "Enter" && key !== " ")) return false;
  show(picture);
  return true;
}

for (const picture of grid.flat()) {
  picture.setAttribute("role", "button");
  picture.setAttribute("aria-haspopup", "dialog");
  picture.tabIndex = -1;
  picture.addEventListener("click", () => show(picture));
}
if (grid.flat().length) stopAt(grid.flat()[0]);
connectView((key) => show(neighbour(shown, key)), () => focusOn(shown));
onKeys(pressed);
