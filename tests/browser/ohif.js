// OHIF: the study list, then the CT with most images; its pixels must be on the canvas.

const fs = require("fs");
const { artefact, http, open, run, variation } = require("./common.js");

const text = (row, tag) => row[tag]?.Value?.[0];

async function ctStudy() {
  const answer = await fetch(`${http}/dicom-web/studies?ModalitiesInStudy=CT`, {
    headers: { Accept: "application/dicom+json" },
  });
  const rows = await answer.json();
  rows.sort((a, b) => text(b, "00201208") - text(a, "00201208"));
  if (rows.length === 0) throw new Error("the samples hold no CT study");
  return rows[0];
}

run(async () => {
  const study = await ctStudy();
  const uid = text(study, "0020000D");
  const { browser, page, errors, foreign } = await open({ viewport: { width: 1440, height: 900 } });

  // The viewer's own list; our pages are in front of it at the root.
  const start = Date.now();
  let listed = false;
  for (const address of ["/ohif", "/"]) {
    const answer = await page.goto(http + address).catch(() => null);
    if (!answer || !answer.ok()) continue;
    const name = text(study, "00100010")?.Alphabetic ?? "";
    const found = page.getByText(name.split("^")[0], { exact: false }).first();
    listed = await found.waitFor({ timeout: 20000 }).then(
      () => true,
      () => false,
    );
    if (listed) {
      console.log(`list at ${address} after ${Date.now() - start} ms`);
      break;
    }
  }
  await page.screenshot({ path: artefact("ohif-list.png") });
  if (!listed) throw new Error("the study list does not show the CT study");

  const clicked = Date.now();
  await page.goto(`${http}/viewer?StudyInstanceUIDs=${uid}`);
  let best = { deviation: 0 };
  for (let wait = 0; wait < 240 && best.deviation < 10; wait += 1) {
    await page.waitForTimeout(250);
    const canvases = page.locator("canvas");
    let largest = null;
    let area = 0;
    for (let at = 0; at < (await canvases.count()); at += 1) {
      const box = await canvases.nth(at).boundingBox();
      if (box && box.width * box.height > area) {
        area = box.width * box.height;
        largest = box;
      }
    }
    if (!largest || area < 40000) continue;
    // The middle of the viewport, where no overlay text can pass for an image.
    const clip = {
      x: largest.x + largest.width * 0.3,
      y: largest.y + largest.height * 0.3,
      width: largest.width * 0.4,
      height: largest.height * 0.4,
    };
    const png = await page.screenshot({ clip });
    best = { deviation: await variation(page, png), after: Date.now() - clicked, png };
  }
  await page.screenshot({ path: artefact("ohif-ct.png") });
  if (best.png) fs.writeFileSync(artefact("ohif-ct-pixels.png"), best.png);
  console.log(`pixels after ${best.after} ms, deviation ${best.deviation.toFixed(1)}`);
  console.log(`${errors.length} console errors: ${errors.slice(0, 5).join(" | ")}`);
  console.log(`${foreign.length} calls to other servers: ${[...new Set(foreign)].slice(0, 5).join(" ")}`);
  await browser.close();
  if (!(best.deviation >= 10)) throw new Error("the canvas is blank");
  const failed = errors.filter((error) => error.includes("/dicom-web"));
  if (failed.length > 0) throw new Error(`requests failed:\n${failed.join("\n")}`);
});
