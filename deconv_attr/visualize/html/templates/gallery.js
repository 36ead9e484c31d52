// The page's state, which is its address: "#layer=features.3&map=12&sort=strongest&find=12 100-110". Whatever changes
// the state changes the address, and `show` follows; so links, reloading and the back button need nothing more.
"use strict";

const layers = [...document.querySelectorAll("#layers a")].map((link) => ({
  slug: link.dataset.slug,
  name: link.querySelector(".layer-name").textContent,
  facts: link.dataset.facts,
  link,
  data: null, // what galleryLayer was given
  loading: null, // a promise of it
}));
let shown = { layer: null, map: null, sort: "number", find: "" };

// Each layer's data are a script that calls this: a page on a disk may load scripts, but not fetch.
function galleryLayer(data) {
  layers.find((layer) => layer.slug === data.slug).data = data;
}

function load(layer) {
  layer.loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `files/layer-${layer.slug}.js`;
    script.addEventListener("load", () => (layer.data ? resolve() : reject(script)));
    script.addEventListener("error", () => reject(script));
    document.head.append(script);
  });
  return layer.loading;
}

function readAddress() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const map = fields.get("map");
  return {
    layer: layers.find((layer) => layer.slug === fields.get("layer")) ?? layers[0],
    map: /^\d+$/.test(map ?? "") ? Number(map) : null,
    sort: fields.get("sort") in ORDERS ? fields.get("sort") : "number",
    find: fields.get("find") ?? "",
  };
}

function address(changes) {
  const { layer, map, sort, find } = { ...shown, ...changes };
  const fields = new URLSearchParams({ layer: layer.slug });
  if (map !== null) fields.set("map", map);
  if (sort !== "number") fields.set("sort", sort);
  if (find !== "") fields.set("find", find);
  return `#${fields}`;
}

// The back button returns from what was visited, not from what was amended.
function visit(changes) {
  location.hash = address(changes);
  show(); // now; hashchange comes later, when another key may have been pressed
}

function amend(changes) {
  location.replace(address(changes));
  show();
}

function show() {
  const before = shown;
  shown = readAddress();
  if (!shown.layer) return void (element("note").textContent = "no layer was chosen for this gallery");
  if (shown.layer !== before.layer) showLayer(before.layer !== null);
  if (element("find").value !== shown.find) element("find").value = shown.find;
  element("sort").value = shown.sort;
  const { layer } = shown;
  if (layer.data) return showMaps();
  load(layer).then(
    () => { if (shown.layer === layer) showMaps(); },
    (script) => { if (shown.layer === layer) element("note").textContent = `cannot read ${script.src}`; },
  );
}

function showLayer(scroll) {
  const { layer } = shown;
  for (const { link } of layers) link.removeAttribute("aria-current");
  layer.link.setAttribute("aria-current", "true");
  keepInSight(layer.link);
  element("layer-name").replaceChildren(...breakable(layer.name));
  element("layer-facts").textContent = layer.facts;
  element("note").textContent = "loading";
  clearCards();
  if (scroll && element("layer").getBoundingClientRect().top < 0) element("layer").scrollIntoView();
}

// Scrolls the list of layers only: scrollIntoView would move the page, too.
function keepInSight(link) {
  const list = element("layers");
  const [top, height] = [link.offsetTop - list.offsetTop, link.offsetHeight];
  if (top < list.scrollTop) list.scrollTop = top - height;
  if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + 2 * height - list.clientHeight;
}

function showMaps() {
  arrangeCards(shown.layer.data.maps, shown.sort, shown.find);
  const map = shown.layer.data.maps.find((each) => each.number === shown.map);
  if (map) showUnits(map, shown.layer);
  else view.close(); // does nothing where it is closed
}

function chooseLayer(step) {
  const layer = layers[layers.indexOf(shown.layer) + step];
  if (layer) visit({ layer, map: null, find: "" });
}

function pressed(key, target) {
  const find = element("find");
  if (view.open) return pressedInView(key);
  if (key === "Escape" && target === find) amend({ find: "" });
  else if (target === find && ["ArrowDown", "Enter"].includes(key)) return enterCards();
  else if (target.matches("input, select")) return false;
  else if (key === "/") {
    find.select();
    find.focus();
  } else if (key === "[" || key === "]") chooseLayer(key === "[" ? -1 : 1);
  else return moveFocus(key);
  return true;
}

for (const { link, name } of layers) link.querySelector(".layer-name").replaceChildren(...breakable(name));
element("find").addEventListener("input", (event) => amend({ find: event.target.value }));
element("sort").addEventListener("change", (event) => amend({ sort: event.target.value }));
element("controls").addEventListener("submit", (event) => event.preventDefault());
element("layers").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault(); // the order is kept
  visit({ layer: layers.find((layer) => layer.link === link), map: null, find: "" });
});
onKeys(pressed);
window.addEventListener("hashchange", show);
document.addEventListener("DOMContentLoaded", show); // when all scripts have run
