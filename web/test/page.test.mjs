/** The page in a real browser, against our own arrays (EXPECTED, a file of test/expected.py). Screenshots go to SHOTS. */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { serve } from "../serve.mjs";

const SITE = process.env.SITE ?? "../site";
const SHOTS = process.env.SHOTS ?? "shots";
const expected = JSON.parse(await readFile(process.env.EXPECTED ?? "shots/expected.json", "utf8"));
const FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const PROBABILITY = 0.02;
const WIDE = { viewport: { width: 1280, height: 900 }, colorScheme: "dark" };
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2, colorScheme: "light" };
const STILL = { ...WIDE, reducedMotion: "reduce" };

let browser, server, home;

before(async () => {
  await mkdir(SHOTS, { recursive: true });
  server = await serve(SITE);
  home = `http://127.0.0.1:${server.address().port}/`;
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS.split(" ") });
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** A test with a page of its own, which must say nothing on the console and ask no other host. */
function pageTest(name, options, work, { errors = [] } = {}) {
  test(name, { timeout: 120_000 }, async () => {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const said = [];
    const hosts = new Set();
    let bytes = 0;
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    page.on("request", (request) => hosts.add(new URL(request.url()).host));
    context.on("response", (response) => (bytes += Number(response.headers()["content-length"] ?? 0)));
    try {
      await work(page, { bytes: () => bytes });
    } finally {
      await context.close();
    }
    assert.deepEqual([...hosts], [new URL(home).host]);
    assert.deepEqual(said.filter((text) => !errors.some((known) => text.includes(known))), []);
  });
}

async function open(page, hash = "") {
  await page.goto(home + hash);
  await page.waitForSelector("#loading.done", { state: "attached" });
}

/** E[x] of each cell, from the pixels in the middle of its square. */
const probabilities = (page, id, side) =>
  page.evaluate(
    ([id, side]) => {
      const shown = document.getElementById(id);
      const canvas = Object.assign(document.createElement("canvas"), { width: shown.width, height: shown.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(shown, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      const middle = (i) => Math.floor(((i + 0.5) * canvas.width) / side);
      const places = Array.from({ length: side * side }, (_, i) => middle(Math.floor(i / side)) * canvas.width + middle(i % side));
      return places.map((place) => (data[4 * place + 1] - 16) / (247 - 16)); // green, from the darkest to the lightest
    },
    [id, side],
  );

function assertSame(found, wanted, tolerance = PROBABILITY) {
  assert.equal(found.length, wanted.length);
  const furthest = Math.max(...found.map((value, i) => Math.abs(value - wanted[i])));
  assert.ok(furthest <= tolerance, `off by ${furthest}`);
}

const inAddress = (z) => `#z=${Buffer.from(new Float32Array(z).buffer).toString("base64url")}`;
const age = (page) => page.evaluate(() => vnca.living.automaton.age);
const latent = (page) => page.evaluate(() => [...vnca.living.automaton.z]);
const shot = (page, name, options = {}) => page.screenshot({ path: `${SHOTS}/${name}.png`, ...options });
const settled = (page) => page.evaluate(() => vnca.living.automaton.step(0));

pageTest("loads little, moves nothing, and makes a sample", WIDE, async (page, { bytes }) => {
  await page.addInitScript(() => {
    window.shifts = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.shifts += entry.value))).observe({ type: "layout-shift", buffered: true });
  });
  await open(page);
  console.log(`first load: ${bytes()} bytes`);
  assert.ok(bytes() > 1e6 && bytes() < 15e6);
  await page.keyboard.press("s");
  await page.waitForFunction((steps) => vnca.living.automaton.age >= steps, expected.num_steps);
  const found = await page.evaluate(() => [...vnca.living.automaton.mean]);
  assert.ok(Math.max(...found) > 0.5 && Math.min(...found) < 0.1, "there is ink, and paper around it");
  await page.keyboard.press(" ");
  await settled(page);
  await shot(page, "sample");
  assertSame(await probabilities(page, "cells", 28), await page.evaluate(() => [...vnca.living.automaton.mean]), 0.005);
  assert.ok((await page.evaluate(() => window.shifts)) < 0.02, "the layout stays where it is");
  const speed = await page.evaluate(async () => {
    const start = performance.now();
    await vnca.living.automaton.step(100);
    return 100000 / (performance.now() - start);
  });
  console.log(`speed: ${speed.toFixed(0)} steps/s`);
});

pageTest("grows, is hurt and heals as our own run does", STILL, async (page) => {
  await open(page, inAddress(expected.z));
  assert.equal(await age(page), expected.num_steps);
  assertSame(await probabilities(page, "cells", 28), expected.grown);
  await shot(page, "grown");
  await page.click("#half");
  await settled(page);
  assertSame(await page.evaluate(() => [...vnca.living.automaton.mean]), expected.hurt, 1e-3);
  await shot(page, "hurt");
  for (let i = 0; i < expected.num_steps; i++) await page.click("#step");
  await settled(page);
  assert.equal(await age(page), 2 * expected.num_steps);
  assertSame(await probabilities(page, "cells", 28), expected.healed);
  await shot(page, "healed");
});

pageTest("erases under the pointer, and the wound closes", STILL, async (page) => {
  await open(page);
  const before = await page.evaluate(() => vnca.living.automaton.logProbability);
  const box = await page.locator("#cells").boundingBox();
  await page.mouse.move(box.x + box.width * 0.35, box.y + box.height * 0.5);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, box.y + box.height * 0.5, { steps: 8 });
  await shot(page, "erasing");
  await page.mouse.up();
  await settled(page);
  const hurt = await page.evaluate(() => vnca.living.automaton.logProbability);
  const erased = await page.evaluate(() => {
    const { cells, side } = vnca.living.automaton;
    const size = cells.dims[3];
    return Array.from({ length: side * side }, (_, i) => cells.data.subarray(i * size, (i + 1) * size).every((value) => value === 0));
  });
  for (let column = 10; column <= 18; column++) assert.ok(erased[14 * 28 + column], `column ${column} is erased`);
  assert.ok(erased.filter(Boolean).length < 150 && !erased[0] && !erased[14 * 28 + 27]);
  assert.ok(hurt < before);
  assert.ok(await page.evaluate(() => vnca.living.automaton.history.at(-1).damage === "brush"));
  for (let i = 0; i < expected.num_steps; i++) await page.keyboard.press(".");
  await settled(page);
  assert.ok((await page.evaluate(() => vnca.living.automaton.logProbability)) > hurt);
});

pageTest("reads a drawn digit, and those of the strip", STILL, async (page) => {
  await open(page);
  const before = await latent(page);
  const { x, y, width } = await page.locator("#pad").boundingBox();
  await page.mouse.move(x + width * 0.3, y + width * 0.2);
  await page.mouse.down();
  for (const [across, down] of [[0.7, 0.2], [0.5, 0.5], [0.45, 0.85]]) await page.mouse.move(x + width * across, y + width * down, { steps: 6 });
  await page.mouse.up();
  await page.waitForFunction((z) => vnca.living.automaton.z[0] !== z, before[0]);
  await settled(page);
  const drawn = await page.evaluate(() => [...vnca.living.automaton.x]);
  const ink = drawn.filter((value) => value === 1).length;
  assert.ok(drawn.every((value) => value === 0 || value === 1) && ink > 40 && ink < 250, `${ink} pixels of ink`);
  const after = await latent(page);
  assert.ok(Math.hypot(...after.map((value, i) => value - before[i])) > 0.5, "the encoding has changed");
  await page.waitForFunction((steps) => vnca.living.automaton.age === steps, expected.num_steps);
  await shot(page, "drawn");
  for (const [i, wanted] of expected.encodings.entries()) {
    await page.click(`#strip button:nth-child(${i + 1})`);
    await page.waitForFunction(([z]) => Math.abs(vnca.living.automaton.z[0] - z) < 1e-3, wanted);
    assertSame(await latent(page), wanted, 1e-3);
  }
});

pageTest("grows by doubling as our own run does, and slides between two digits", STILL, async (page) => {
  await open(page);
  await page.locator("#doubling").scrollIntoViewIfNeeded();
  await page.waitForSelector("#doubling-cover.done", { state: "attached" });
  await page.evaluate((z) => vnca.growing.show(Float32Array.from(z)), expected.z_doubling);
  assertSame(await probabilities(page, "grown", 32), expected.doubled);
  await page.evaluate(() => vnca.growing.show(vnca.growing.z));
  const first = await probabilities(page, "grown", 32);
  await page.locator("#way").fill("0.5");
  await page.waitForTimeout(1500);
  const middle = await probabilities(page, "grown", 32);
  assert.ok(middle.some((value, i) => Math.abs(value - first[i]) > 0.2), "the picture has moved");
  const norm = () => page.evaluate(() => Math.hypot(...vnca.growing.z));
  const straight = await norm();
  await page.click("text=On the sphere");
  assert.ok((await norm()) > straight, "the way on the sphere keeps away from the middle");
  await shot(page, "doubling");
  await page.click("#grow");
  await page.waitForFunction(() => document.getElementById("scale").textContent === "4×4");
});

pageTest("moves nothing where the visitor wants no motion", STILL, async (page) => {
  await open(page);
  assert.equal(await age(page), expected.num_steps);
  await page.waitForTimeout(1500);
  assert.equal(await age(page), expected.num_steps);
  assert.equal(await page.getAttribute("#play", "aria-pressed"), "false");
});

pageTest("shows by itself what can be done, until it is touched", WIDE, async (page) => {
  await open(page);
  await page.waitForFunction(() => vnca.living.automaton.history.some(({ damage }) => damage === "brush"), undefined, { timeout: 60_000 });
  await shot(page, "demonstration");
  await page.keyboard.press("r");
  await page.waitForTimeout(800);
  assert.ok(await page.evaluate(() => !document.getElementById("ring").classList.contains("seen")));
});

pageTest("works by keyboard", STILL, async (page) => {
  await open(page);
  await page.keyboard.press(".");
  await settled(page);
  assert.equal(await age(page), expected.num_steps + 1);
  await page.keyboard.press(" ");
  assert.equal(await page.getAttribute("#play", "aria-pressed"), "true");
  await page.keyboard.press(" ");
  await page.focus("#cells");
  for (const key of ["ArrowDown", "ArrowRight", "ArrowRight", "Enter"]) await page.keyboard.press(key);
  await settled(page);
  assert.ok(await page.evaluate(() => vnca.living.automaton.cells.data.subarray(0, 32).every((value) => value === 0)));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "regrow");
  await shot(page, "keyboard");
});

pageTest("looks inside the cells", STILL, async (page) => {
  await open(page);
  for (const view of ["Colours", "Channel"]) {
    const before = await page.evaluate(() => document.getElementById("cells").toDataURL());
    await page.click(`text=${view}`);
    assert.notEqual(await page.evaluate(() => document.getElementById("cells").toDataURL()), before);
    await shot(page, view.toLowerCase());
  }
});

pageTest("fits a phone, and is erased by a finger", PHONE, async (page) => {
  await open(page);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360);
  const small = await page.evaluate(() =>
    [...document.querySelectorAll("main button, main input[type=range]")].filter((e) => !e.matches(".text") && e.checkVisibility() && e.getBoundingClientRect().height < 28).map((e) => e.id),
  );
  assert.deepEqual(small, []);
  const box = await page.locator("#cells").boundingBox();
  await page.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 2);
  await settled(page);
  assert.ok(await page.evaluate(() => vnca.living.automaton.history.some(({ damage }) => damage === "brush")));
  await page.locator("#doubling").scrollIntoViewIfNeeded();
  await page.waitForSelector("#doubling-cover.done", { state: "attached" });
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360);
  await shot(page, "phone", { fullPage: true });
});

pageTest("is light where the visitor wants it light", { ...STILL, colorScheme: "light" }, async (page) => {
  await open(page);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(246, 244, 239)");
  await page.locator("#doubling").scrollIntoViewIfNeeded();
  await page.waitForSelector("#doubling-cover.done", { state: "attached" });
  await shot(page, "light", { fullPage: true });
});

pageTest(
  "draws digits of its own where the build had no data",
  STILL,
  async (page) => {
    await page.route("**/digits.json", (route) => route.fulfill({ status: 404 }));
    await open(page);
    assert.equal(await page.textContent("#strip-label"), "Digits drawn by hand");
    assert.equal(await page.locator("#strip button").count(), 10);
    await shot(page, "drawn-by-hand");
  },
  { errors: ["404"] },
);

/** What the cover says in place of the automaton. */
async function failure(page, prepare) {
  await prepare(page);
  await page.goto(home);
  await page.waitForSelector("#loading.failed");
  return page.textContent("#loading-text");
}

const altered = (glob) => (page) =>
  page.route(glob, async (route) => {
    const response = await route.fetch();
    const body = await response.body();
    body[body.length >> 1] ^= 0xff;
    await route.fulfill({ response, body });
  });
const missing = (glob) => (page) => page.route(glob, (route) => route.fulfill({ status: 404 }));

for (const [name, prepare, sentence] of [
  ["a browser without WebAssembly", (page) => page.addInitScript(() => delete window.WebAssembly), /^This page needs WebAssembly, .*\.$/],
  ["a missing weight file", missing("**/nondoubling/step.onnx*"), /^The file model\/nondoubling\/step\.onnx is missing \(404\); build the page again: make web\.$/],
  ["a missing manifest", missing("**/nondoubling/manifest.json"), /^The file model\/nondoubling\/manifest\.json is missing \(404\)/],
  ["a damaged weight file", altered("**/nondoubling/encoder.onnx*"), /^The file model\/nondoubling\/encoder\.onnx is damaged: .*\.$/],
  ["a damaged runtime", altered("**/ort.wasm.gz"), /^The file ort\.wasm\.gz is damaged; .*\.$/],
])
  pageTest(
    `says in a sentence: ${name}`,
    STILL,
    async (page) => {
      const said = await failure(page, prepare);
      assert.match(said, sentence);
      assert.equal(await page.locator("#living [inert]").count(), 3, "what cannot work cannot be pressed");
      await shot(page, `failure-${name.split(" ").at(-2)}`);
    },
    { errors: ["404"] },
  );

pageTest(
  "lives on where only the doubling model is missing",
  STILL,
  async (page) => {
    await missing("**/model/doubling/*")(page);
    await open(page);
    await page.locator("#doubling").scrollIntoViewIfNeeded();
    await page.waitForSelector("#doubling-cover.failed");
    assert.match(await page.textContent("#doubling-text"), /^The file model\/doubling\/manifest\.json is missing/);
    await page.click("#step");
    await settled(page);
    assert.equal(await age(page), expected.num_steps + 1);
  },
  { errors: ["404"] },
);
