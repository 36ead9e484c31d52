// The cards of a layer: made once when it is chosen, then arranged by order and search.
"use strict";

const [MOST, USUAL] = [440, 328]; // pixels of the screen: a sheet's longer side if it is magnified, if it is made smaller
const PADDING = 26; // pixels: a card's width minus its sheet's, see .card in page.css
const LEAST = 220; // of a card without its padding
const ORDERS = {
  number: (a, b) => a.number - b.number,
  strongest: (a, b) => strength(b, -Infinity) - strength(a, -Infinity) || a.number - b.number,
  weakest: (a, b) => strength(a, Infinity) - strength(b, Infinity) || a.number - b.number,
}; // maps that were never active are last in both orders of strength
const strength = (map, none) => map.values[0] ?? none;
let cards = new Map(); // from a map's number to its card
let listed = []; // the maps on the page, in their order
let side = 0; // pixels of the screen: the longer side of each sheet
let arranged = null; // the order and search that `listed` follows

function clearCards() {
  cards = new Map();
  listed = [];
  arranged = null;
  element("cards").replaceChildren();
}

// About four significant digits.
function written(value, digits = 4) {
  return value === null ? "–" : String(Number(value.toPrecision(digits)));
}

// The longer side of a sheet on the screen: as many whole screen pixels for each of its own as fit.
function fittingSide(sheet) {
  const longer = Math.max(sheet.width, sheet.height);
  const across = element("cards").clientWidth - PADDING;
  const space = Math.min(MOST, across);
  return longer <= space ? longer * Math.floor(space / longer) : Math.min(USUAL, across);
}

// The size of a sheet on the screen: all of a layer have one. Pixels that would differ in size by much are smoothed.
function screenSize(sheet) {
  const scale = side / Math.max(sheet.width, sheet.height);
  const even = scale >= 3 || (scale > 1 && Math.abs(scale - Math.round(scale)) < 0.01);
  return { width: Math.round(sheet.width * scale), height: Math.round(sheet.height * scale), even };
}

// Cards are as wide as the widest sheet of the layer, but not so narrow that their text is cramped.
function setCardSize(maps) {
  const sheets = maps.filter((map) => map.sheet).map((map) => map.sheet);
  side = sheets.reduce((most, sheet) => Math.max(most, fittingSide(sheet)), 0);
  const sizes = sheets.map(screenSize);
  const [width, height] = ["width", "height"].map((side) => sizes.reduce((most, size) => Math.max(most, size[side]), 0));
  element("cards").style.setProperty("--width", `${Math.max(width || USUAL, LEAST) + PADDING}px`);
  element("cards").style.setProperty("--height", `${height || LEAST / 2}px`);
}

function makeCard(map) {
  const item = element("card-template").content.cloneNode(true).firstElementChild;
  const [card, plate, image] = [".card", ".plate", ".sheet"].map((name) => item.querySelector(name));
  card.dataset.map = map.number;
  card.href = `#${new URLSearchParams({ layer: shown.layer.slug, map: map.number })}`; // to be copied; see openCard
  card.tabIndex = -1;
  card.querySelector(".number").textContent = `Map ${map.number}`;
  if (!map.sheet) {
    plate.replaceChildren("not active in these images");
    plate.classList.add("nothing");
    card.querySelector(".quiet").remove();
    return item;
  }
  const { width, height, even } = screenSize(map.sheet);
  card.querySelector(".value").textContent = written(map.values[0]);
  Object.assign(image, { width, height, alt: `${map.values.length} projections beside their patches` });
  image.classList.toggle("sharp", even);
  image.src = map.sheet.file;
  return item;
}

// Numbers and ranges in any number: "12 77, 100-110". Returns a test of numbers, or the first word that is neither.
function understood(find) {
  const ranges = [];
  for (const word of find.replace(/\s*[-–]\s*/g, "-").split(/[\s,;]+/).filter(Boolean)) {
    const found = /^(\d+)(?:-(\d+)?)?$/.exec(word); // "100-" is a range that is still being written
    if (!found) return { wrong: word };
    const ends = [Number(found[1]), Number(found[2] ?? found[1])];
    ranges.push([Math.min(...ends), Math.max(...ends)]);
  }
  return { test: (number) => !ranges.length || ranges.some(([first, last]) => first <= number && number <= last) };
}

function arrangeCards(maps, sort, find) {
  if (arranged === `${sort} ${find}`) return;
  if (arranged === null) setCardSize(maps);
  arranged = `${sort} ${find}`;
  const { test, wrong } = understood(find);
  listed = wrong === undefined ? maps.filter((map) => test(map.number)).sort(ORDERS[sort]) : [];
  for (const map of listed) if (!cards.has(map.number)) cards.set(map.number, makeCard(map));
  element("cards").replaceChildren(...listed.map((map) => cards.get(map.number)));
  if (listed.length) stopAt(cardOf(listed[0].number));
  element("find").setAttribute("aria-invalid", String(wrong !== undefined));
  if (wrong !== undefined) element("note").textContent = `“${wrong}” is neither a number nor a range such as 100-110`;
  else if (!maps.length) element("note").textContent = "no map of this layer is in this gallery";
  else element("note").textContent = find.trim() ? `${listed.length} of ${maps.length} maps` : `${maps.length} maps`;
}

// ------------------------------------------------------------------------------------------------ keyboard

const cardOf = (number) => cards.get(number)?.querySelector(".card");

function focusCard(number) {
  const card = cardOf(number);
  if (card?.isConnected) focusOn(card);
}

function enterCards() {
  element("cards").querySelector('.card[tabindex="0"]')?.focus();
  return true;
}

function moveFocus(key) {
  const columns = getComputedStyle(element("cards")).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const card = document.activeElement.closest("#cards .card");
  if (step === undefined || !listed.length) return false;
  if (!card) return document.activeElement === document.body && enterCards();
  const index = listed.findIndex((map) => map.number === Number(card.dataset.map)) + step;
  if (listed[index]) focusCard(listed[index].number);
  return true;
}

// A plain click keeps order and search in the address; with a key held, the link opens as any other.
function openCard(event) {
  const card = event.target.closest(".card");
  if (!card || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  stopAt(card);
  enterView(Number(card.dataset.map));
}

element("cards").addEventListener("click", openCard);
