// The large view of one map: its units, each with projection, patch, and the image with its box.
"use strict";

const TINY = 0.04; // of the image; the outline of a smaller box keeps a distance, or it would hide what it shows
let entered = false; // whether the back button returns to the page without the view
let viewed = null; // the map in view, and its layer

function enterView(number) {
  entered = true;
  visit({ map: number });
}

function leaveView() {
  if (entered) history.back();
  else amend({ map: null });
}

function showUnits(map, layer) {
  openView(`Map ${map.number} of ${layer.name}`, neighbour);
  if (viewed?.map === map) return;
  viewed = { map, layer };
  view.scrollTop = 0;
  const strongest = Math.max(...layer.data.maps.map((each) => strength(each, 0)));
  element("view-note").textContent = map.values.length
    ? `The strongest units; the box is what projection and patch show. Bars end at ${written(strongest)}, the strongest activation shown of this layer.`
    : "not active in these images";
  element("units").replaceChildren(...map.values.map((_, rank) => makeUnit(map, rank, layer.data.images, strongest)));
  if (map.sheet) drawTiles(map.sheet);
}

function closed() {
  const { map, layer } = viewed;
  viewed = null;
  element("units").replaceChildren();
  if (layer === shown.layer) focusCard(map.number);
  if (shown.map !== null) leaveView(); // it was closed by a key or a button, not by the address
  entered = false;
}

function neighbour(key) {
  const index = listed.findIndex((map) => map.number === shown.map);
  return index < 0 ? undefined : listed[index + { ArrowLeft: -1, ArrowRight: 1 }[key]];
}

function step(key) {
  const map = neighbour(key);
  if (map) amend({ map: map.number });
}

function pressedInView(key) {
  if (key === "ArrowLeft" || key === "ArrowRight") step(key);
  else if (key === "[" || key === "]") chooseLayer(key === "[" ? -1 : 1);
  else return false;
  return true;
}

// ------------------------------------------------------------------------------------------------ units

function makeUnit(map, rank, images, strongest) {
  const item = element("unit-template").content.cloneNode(true).firstElementChild;
  const image = images[map.images[rank]];
  const box = map.boxes[rank];
  item.querySelector(".rank").textContent = rank + 1;
  item.querySelector(".value").textContent = written(map.values[rank]);
  item.querySelector(".strength span").style.width = `${(100 * Math.max(0, map.values[rank] ?? 0)) / strongest}%`;
  item.querySelector(".scale").textContent = scaleOf(map.scales?.[rank]);
  item.querySelector(".name").textContent = image.name;
  item.querySelector(".name").title = image.name;
  item.querySelector(".location").textContent = locationOf(map.positions[rank], box);
  const [height, width] = map.sheet.tile;
  for (const kind of ["projection", "patch"]) {
    const canvas = item.querySelector(`.${kind}`);
    Object.assign(canvas, { width, height });
    canvas.setAttribute("aria-label", `${kind} ${rank + 1}, from ${image.name}`);
    fit(canvas, width, height);
  }
  fillWhole(item.querySelector(".whole"), image, box);
  return item;
}

function scaleOf(scale) {
  if (scale === undefined || scale === null) return "";
  return scale > 0 ? `, full colour at ±${written(scale, 3)}` : ", zero everywhere";
}

function locationOf(position, [top, left, bottom, right]) {
  const range = (word, first, last) => (first === last ? `${word} ${first}` : `${word}s ${first}-${last}`);
  const unit = position.length ? `unit (${position.join(", ")}): ` : "";
  if (top >= bottom || left >= right) return `${unit}outside the image`;
  return `${unit}${range("row", top, bottom - 1)}, ${range("column", left, right - 1)}`;
}

// Makes a picture as large as its square slot allows, whatever its shape.
function fit(picture, width, height) {
  picture.style.aspectRatio = `${width} / ${height}`;
  picture.style.width = `${Math.min(1, width / height) * 100}%`;
  picture.classList.toggle("sharp", Math.max(width, height) < LARGE);
}

function fillWhole(link, image, [top, left, bottom, right]) {
  const [picture, outline] = [link.querySelector("img"), link.querySelector(".box")];
  link.href = image.file;
  fit(link, image.width, image.height);
  Object.assign(picture, { width: image.width, height: image.height, alt: `whole image ${image.name}` });
  picture.src = image.file;
  const percent = (part, whole) => `${(part / whole) * 100}%`;
  outline.hidden = top >= bottom || left >= right;
  outline.classList.toggle("tiny", Math.max((bottom - top) / image.height, (right - left) / image.width) < TINY);
  outline.style.top = percent(top, image.height);
  outline.style.left = percent(left, image.width);
  outline.style.width = percent(right - left, image.width);
  outline.style.height = percent(bottom - top, image.height);
}

// Cuts the tiles out of their sheet. The canvases are taken now: when the sheet has loaded, others may be in view.
function drawTiles(sheet) {
  const [height, width] = sheet.tile;
  const sides = [[".projection", 0], [".patch", sheet.right]];
  const targets = sides.map(([name, start]) => [[...element("units").querySelectorAll(name)], start]);
  const picture = new Image();
  picture.addEventListener("load", () => {
    for (const [canvases, start] of targets) {
      canvases.forEach((canvas, rank) => {
        const across = start + (rank % sheet.columns) * (width + sheet.gap);
        const down = Math.floor(rank / sheet.columns) * (height + sheet.gap);
        canvas.getContext("2d").drawImage(picture, across, down, width, height, 0, 0, width, height);
      });
    }
  });
  picture.src = sheet.file;
}

connectView(step, closed);
