/** Loads what the page needs, the first part at once and the second when it comes near, and says what is missing. */
import { describe, loadDigits, padded, type Digits } from "./digits";
import { Failure, sentence } from "./failure";
import { Growing } from "./growing";
import { Living } from "./living";
import { $, say } from "./page";
import { Model, startRuntime, type Runtime } from "./runtime";

declare const REPOSITORY: string; // address of the code, from the build; empty where it is not known

const LIVING = "model/nondoubling";
const GROWING = "model/doubling";

function fail(cover: string, text: string, error: unknown) {
  $(cover).classList.remove("done");
  $(cover).classList.add("failed");
  for (const controls of $(cover).closest("section")!.querySelectorAll(".row, .panel, .growth")) controls.setAttribute("inert", "");
  $(text).textContent = sentence(error);
  say(sentence(error));
  if (!(error instanceof Failure)) console.error(error);
}

/** Lifts the cover, and lets the controls be used. */
function ready(section: string, cover: string) {
  for (const controls of $(section).querySelectorAll("[inert]")) controls.removeAttribute("inert");
  $(cover).classList.add("done");
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);

async function startLiving(): Promise<{ runtime: Runtime; living: Living; digits: Digits }> {
  if (typeof WebAssembly !== "object" || typeof DecompressionStream !== "function")
    throw new Failure("This page needs WebAssembly, which this browser lacks or has switched off; a current Firefox, Chrome or Safari has it.");
  const { runtime, model } = await startRuntime(LIVING, "NonDoublingVNCA", (done, total) => {
    if ($("loading").classList.contains("failed")) return; // the other files go on arriving
    $<HTMLProgressElement>("progress").value = done / total;
    $("loading-text").textContent = `Loading the automaton, ${megabytes(done)} of ${megabytes(total)} MB`;
  });
  const digits = await loadDigits("model/digits.json", model.imageSize);
  const living = new Living(model, digits, (error) => fail("loading", "loading-text", error));
  $("model-living").textContent = describe(model.manifest, "The healing automaton");
  await living.begin();
  ready("living", "loading");
  return { runtime, living, digits };
}

async function startGrowing(runtime: Runtime, digits: Digits) {
  const model = await Model.fetch(runtime, GROWING, "DoublingVNCA");
  const side = Math.sqrt(digits.images[0].length);
  const larger = { ...digits, images: digits.images.map((x) => padded(x, side, model.imageSize)) };
  const growing = new Growing(model, larger, (error) => fail("doubling-cover", "doubling-text", error));
  $("model-doubling").textContent = describe(model.manifest, "The doubling automaton");
  await growing.pair();
  ready("doubling", "doubling-cover");
  return growing;
}

async function start() {
  if (REPOSITORY) Object.assign($("repository"), { href: REPOSITORY, hidden: false });
  const { runtime, living, digits } = await startLiving();
  const page = { living, growing: undefined as Growing | undefined };
  Object.assign(window, { vnca: page }); // for the browser's console, and the tests
  new IntersectionObserver(
    async ([entry], observer) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      await startGrowing(runtime, digits).then(
        (growing) => (page.growing = growing),
        (error) => fail("doubling-cover", "doubling-text", error),
      );
    },
    { rootMargin: "500px" },
  ).observe($("doubling"));
}

start().catch((error) => fail("loading", "loading-text", error));
