// OHIF opens a study of each kind of the corpus; what must be seen of it is looked for, not only that
// something is. Arguments: the corpus manifest, then NAME=KIND=STUDY for each.
//
// image     the pixels in the viewer's memory are those of the manifest, and the canvas shows them
// cine      the same, and another frame shows another picture
// segments  segments of a segmentation lie in colour over the image
// report    the words of the report
// marks     the report's measurements, drawn over the image it is about
// document  the viewer was given a PDF, from this node

const fs = require("fs");
const { artefact, http, open, run, variation } = require("./common.js");

const [manifest, ...cases] = process.argv.slice(2);
const rows = new Map();
const [names, ...lines] = fs.readFileSync(manifest, "utf8").split("\n");
for (const line of lines) {
  const cells = line.split("\t");
  const row = Object.fromEntries(names.split("\t").map((name, at) => [name, cells[at]]));
  // Several files may share a UID with other content; then the picture is judged by the eye alone.
  rows.set(row.sop_uid, rows.has(row.sop_uid) ? null : row);
}

async function until(page, what, seconds, done) {
  for (let wait = 0; wait < seconds * 4; wait += 1) {
    const found = await done().catch(() => null);
    if (found) return found;
    await page.waitForTimeout(250);
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

// What the first viewport that shows an image holds in memory; runs in the page.
function shown() {
  for (const viewport of window.services.cornerstoneViewportService.getRenderingEngine()?.getViewports() ?? []) {
    const image = viewport.csImage;
    const id = viewport.getCurrentImageId?.();
    if (!image || !id) continue;
    const data = image.voxelManager?.getScalarData?.() ?? image.getPixelData();
    const scale = image.preScale?.scaled ? image.preScale.scalingParameters : null;
    const raw = (value) => (scale ? (value - scale.rescaleIntercept) / scale.rescaleSlope : value);
    let [low, high, sum] = [Infinity, -Infinity, 0];
    for (const value of data) {
      low = Math.min(low, value);
      high = Math.max(high, value);
      sum += value;
    }
    return {
      instance: window.cornerstone.metaData.get("instance", id)?.SOPInstanceUID,
      index: viewport.getCurrentImageIdIndex(),
      count: viewport.getImageIds().length,
      size: [image.columns, image.rows],
      colour: image.color,
      values: [raw(low), raw(high), raw(sum / data.length)],
    };
  }
  return null;
}

// The middle of the largest canvas, where no overlay text can pass for an image.
async function middle(page) {
  let largest = null;
  for (const canvas of await page.locator("canvas").all()) {
    const box = await canvas.boundingBox();
    if (box && (!largest || box.width * box.height > largest.width * largest.height)) largest = box;
  }
  if (!largest || largest.width * largest.height < 40000) return null;
  const part = (start, length) => [start + length * 0.25, length * 0.5];
  const [[x, width], [y, height]] = [part(largest.x, largest.width), part(largest.y, largest.height)];
  return page.screenshot({ clip: { x, y, width, height } });
}

// How many pixels of a PNG are in colour.
async function coloured(page, png) {
  return page.evaluate(async (base64) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (Math.max(...data.slice(at, at + 3)) - Math.min(...data.slice(at, at + 3)) > 30) count += 1;
    }
    return count;
  }, png.toString("base64"));
}

async function image(page) {
  const found = await until(page, "an image in a viewport", 60, () => page.evaluate(shown));
  let deviation = 0;
  const png = await until(page, "pixels on the canvas", 30, async () => {
    const picture = await middle(page);
    deviation = picture ? await variation(page, picture) : 0;
    return deviation >= 5 && picture;
  });
  const row = rows.get(found.instance);
  let compared = "not in the manifest alone";
  if (row && row.px_mean && !found.colour && found.index === 0 && !(Number(row.lossy) > 0)) {
    if (`${found.size}` !== `${[row.cols, row.rows]}`) throw new Error(`${found.size}, not ${row.cols}x${row.rows}`);
    // The manifest knows frame 1; its mean has three decimals.
    const expected = [row.px_min, row.px_max, row.px_mean].map(Number);
    found.values.forEach((value, at) => {
      if (Math.abs(value - expected[at]) > 0.01 * Math.max(1, Math.abs(expected[1] - expected[0]) / 100)) {
        throw new Error(`least, greatest and mean pixel are ${found.values}, not ${expected}`);
      }
    });
    compared = "pixels as in the manifest";
  }
  return `${found.size.join("x")}, image ${found.index + 1} of ${found.count}, ${compared}, deviation ${deviation.toFixed(1)}`;
}

async function cine(page) {
  const first = await image(page);
  const before = await middle(page);
  const { index, count } = await page.evaluate(shown);
  if (count < 2) throw new Error(`only ${count} frame`);
  await page.evaluate(() => window.commandsManager.runCommand("toggleCine"));
  await page.keyboard.press("ArrowDown");
  const after = await until(page, "another frame", 20, async () => {
    const now = await page.evaluate(shown);
    const picture = await middle(page);
    return now.index !== index && !picture.equals(before) && now;
  });
  return `${first}; then image ${after.index + 1}`;
}

// Opens the series of that modality from the list at the left.
async function openSeries(page, modality) {
  const thumbnail = page.locator("[data-cy^='study-browser-thumbnail']").filter({ hasText: modality }).first();
  await thumbnail.waitFor({ timeout: 30000 });
  await thumbnail.dblclick();
}

async function segments(page) {
  const ground = await image(page);
  const before = await coloured(page, await middle(page));
  await openSeries(page, "SEG");
  const names = await until(page, "a segmentation", 60, () =>
    page.evaluate(() => {
      const [first] = window.services.segmentationService.getSegmentations();
      const segments = Object.values(first?.segments ?? {}).filter(Boolean);
      return segments.length > 0 && segments.map((segment) => segment.label);
    }),
  );
  let count = 0;
  await until(page, "segments in colour", 40, async () => {
    const picture = await middle(page);
    count = picture ? await coloured(page, picture) : 0;
    return count > before + 50;
  });
  return `${ground}; segments ${names.join(", ")}: ${count} pixels in colour, ${before} before`;
}

async function report(page) {
  const words = await until(page, "the words of the report", 60, async () => {
    const text = await page.evaluate(() => document.querySelector("[data-cy='viewport-grid'], #root").innerText);
    return /\n.*(report|finding|observ|history|concept|diagnos|conclusion|impression)/i.test(text) && text;
  });
  return `${words.split(/\s+/).length} words`;
}

async function marks(page) {
  await until(page, "an image in a viewport", 60, () => page.evaluate(shown));
  let count = 0;
  // On a busy machine OHIF may draw the image anew before the marks are there; a reader clicks again.
  for (let attempt = 0; attempt < 5 && count === 0; attempt += 1) {
    await openSeries(page, "SR");
    for (let wait = 0; wait < 40 && count === 0; wait += 1) {
      await page.waitForTimeout(250);
      count = await page.evaluate(() => {
        window.services.cornerstoneViewportService.getRenderingEngine()?.render();
        const shapes = ["path", "line", "circle", "ellipse", "polyline"];
        return document.querySelectorAll(shapes.map((shape) => `svg.svg-layer ${shape}`).join()).length;
      });
    }
  }
  if (count === 0) throw new Error("no marks over the image");
  return `${count} marks over the image`;
}

async function document_(page) {
  const source = await until(page, "a document", 60, () =>
    page.evaluate(() => {
      const holder = document.querySelector("object[data], embed[src], iframe[src]");
      return holder?.getAttribute("data") ?? holder?.getAttribute("src");
    }),
  );
  const start = await page.evaluate(async (url) => {
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    return { text: String.fromCharCode(...bytes.slice(0, 5)), length: bytes.length };
  }, source);
  if (start.text !== "%PDF-") throw new Error(`the document begins with ${start.text}`);
  // Chromium draws it in a process of its own.
  await page.waitForTimeout(3000);
  return `a PDF of ${start.length} bytes`;
}

const kinds = { image, cine, segments, report, marks, document: document_ };

run(async () => {
  const problems = [];
  for (const one of cases) {
    const [name, kind, study] = one.split("=");
    const { browser, page, errors, foreign } = await open({ viewport: { width: 1440, height: 900 } });
    try {
      await page.goto(`${http}/viewer?StudyInstanceUIDs=${study}`);
      const notice = page.getByText("Confirm and hide");
      await notice.click({ timeout: 30000 }).catch(() => null);
      console.log(`${name}: ${await kinds[kind](page)}`);
    } catch (error) {
      problems.push(`${name}: ${error}`);
    }
    await page.screenshot({ path: artefact(`ohif-${name}.png`) });
    errors.filter((error) => error.includes("/dicom-web")).forEach((error) => problems.push(`${name}: ${error}`));
    foreign.forEach((url) => problems.push(`${name}: asks another server: ${url}`));
    await browser.close();
  }
  if (problems.length > 0) throw new Error(problems.join("\n"));
});
