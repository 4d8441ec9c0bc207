// The worklist as a reader has it open: a study that a device sends appears by itself, is claimed, finished, and taken
// up again, with the keyboard alone where there is one.

const { execFileSync } = require("child_process");
const { artefact, http, open, run } = require("./common.js");

const [port, first, second] = process.argv.slice(2);

function check(fine, what) {
  if (!fine) throw new Error(what);
}

function send(files) {
  execFileSync("storescu", ["-aec", "QIANLI", "127.0.0.1", port, ...files.split(",")]);
  return Date.now();
}

async function looks(page, name) {
  const wide = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  await page.screenshot({ path: artefact(`reading-${name}.png`), fullPage: true });
  check(wide <= 1, `${name} scrolls ${wide} px sideways`);
}

const DESK = { locale: "en", viewport: { width: 1440, height: 900 } };
const PHONE = { locale: "zh-CN", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

run(async () => {
  const desk = await open(DESK);
  const { page } = desk;
  await page.goto(`${http}/reading`);
  await page.getByText("Nothing to read").waitFor();
  await page.locator("[data-live].state-good").waitFor();
  await looks(page, "empty");
  await page.evaluate(() => { window.unloaded = false; });

  const sent = send(first);
  const rows = page.locator("tr[data-task]");
  await rows.first().waitFor({ timeout: 30000 });
  console.log(`last instance to row on an open page: ${Date.now() - sent} ms`);
  check((await page.evaluate(() => window.unloaded)) === false, "the page was loaded anew");
  await page.locator("[data-arriving]").waitFor({ state: "detached", timeout: 60000 });
  check(await page.locator("time[data-due]").first().textContent().then((text) => /left/.test(text)), "no clock");
  await looks(page, "desk");

  // j to the row, c to claim it.
  await page.locator("body").click({ position: { x: 5, y: 300 } });
  await page.keyboard.press("j");
  await page.keyboard.press("c");
  await page.waitForURL(/\/reading\/tasks\/\d+$/);
  await page.locator("[data-state=claimed]").waitFor();
  await looks(page, "task");

  // A second page of the same list hears of what is done here.
  const phone = await open(PHONE);
  await phone.page.goto(`${http}/reading`);
  await phone.page.locator("[data-live].state-good").waitFor();
  await phone.page.locator("[data-state=claimed]").waitFor();
  await page.getByRole("button", { name: "Finish" }).click();
  await phone.page.getByText("没有待判读的检查").waitFor({ timeout: 30000 });
  await page.getByRole("button", { name: "Open again" }).click();
  await phone.page.locator("[data-state=claimed]").waitFor({ timeout: 30000 });
  const again = send(second);
  await phone.page.locator("tr[data-task]").nth(1).waitFor({ timeout: 30000 });
  console.log(`last instance to row on a phone's page: ${Date.now() - again} ms`);
  await looks(phone.page, "phone");

  // Rules, and a filter kept under a name.
  await page.goto(`${http}/reading/rules`);
  await looks(page, "rules");
  await page.goto(`${http}/reading?modality=CT`);
  await page.fill(".reading-keep input[name=name]", "CT only");
  await page.click(".reading-keep button");
  await page.getByRole("link", { name: "CT only" }).waitFor();
  await page.goto(`${http}/reading?modality=MR`);
  await page.getByText("Nothing to read").waitFor();

  for (const opened of [desk, phone]) {
    check(opened.errors.length === 0, opened.errors.join("\n"));
    check(opened.foreign.length === 0, opened.foreign.join("\n"));
    await opened.browser.close();
  }
});
