/** Frames of the page for the README's animation, as PNG files: `node record.mjs FOLDER`. The page is that in ../site. */
import { mkdir, rm } from "node:fs/promises";
import { chromium } from "playwright-core";
import { serve } from "./serve.mjs";

const folder = process.argv[2] ?? "shots/frames";
const FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
const server = await serve("../site");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS.split(" ") });
const options = { viewport: { width: 1180, height: 860 }, colorScheme: "dark", reducedMotion: "reduce" };
const page = await (await browser.newContext(options)).newPage();
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.waitForSelector("#loading.done", { state: "attached" });

let count = 0;
const frame = async (times = 1) => {
  for (let i = 0; i < times; i++) await page.screenshot({ path: `${folder}/${String(count++).padStart(4, "0")}.png` });
};
const settled = () => page.evaluate(() => vnca.living.automaton.step(0));
const T = await page.evaluate(() => vnca.living.automaton.usualSteps);

async function steps(number, each = 1) {
  for (let i = 0; i < number; i += each) {
    for (let k = 0; k < each; k++) await page.click("#step");
    await settled();
    await frame();
  }
}

/** The digits of the strip, first those that the model shows best: with the fewest wrong pixels for their ink. */
async function fromBestToWorst() {
  const errors = [];
  const buttons = page.locator("#strip button");
  for (let i = 0; i < (await buttons.count()); i++) {
    await page.evaluate((i) => vnca.living.startDigit(i), i);
    errors.push(await page.evaluate(() => vnca.living.automaton.error / vnca.living.automaton.x.reduce((sum, value) => sum + value)));
  }
  return errors.map((value, i) => [value, i]).sort(([a], [b]) => a - b).map(([, i]) => i);
}

/** From the seed, where the page itself would start at the grown digit. */
async function seed(i) {
  await page.evaluate(async (i) => {
    const { automaton } = vnca.living;
    await vnca.living.startDigit(i);
    automaton.history.length = 0;
    await automaton.start(automaton.z, automaton.target);
  }, i);
}

async function rub(rowAt) {
  const box = await page.locator("#cells").boundingBox();
  const at = (part) => [box.x + box.width * (0.25 + 0.5 * part), box.y + box.height * rowAt(part)];
  await page.mouse.move(...at(0));
  await page.mouse.down();
  for (let i = 1; i <= 7; i++) {
    await page.mouse.move(...at(i / 7), { steps: 3 });
    await settled();
    await frame();
  }
  await page.mouse.up();
  await page.mouse.move(0, 0);
}

const best = await fromBestToWorst();
await seed(best[0]);
await steps(T, 2);
await frame(3);
await rub((part) => 0.5 + 0.12 * Math.sin(part * 6));
await steps(T, 2);
await frame(2);
await seed(best.find((i) => Math.abs(i - best[0]) > 3) ?? best[1]); // the strip has alike ones side by side
await steps(T, 2);
await frame(2);
await page.click("#half");
await settled();
await frame(3);
await steps(T, 2);
await frame(3);
await browser.close();
server.close();
console.log(`${count} frames in ${folder}`);
