// Sharing as people do it: a physician shares a study and makes a link, a phone opens the link with
// its code, a colleague elsewhere reads in OHIF and breaks the glass, and what was revoked is gone.

const { artefact, http, open, run, variation } = require("./common.js");

const [sharersFirst, colleaguesFirst, chiefsFirst] = process.argv.slice(2);
const OWN = "seven-owls-wide-4";

function check(fine, what) {
  if (!fine) throw new Error(what);
}

async function enter(login, first, options) {
  const opened = await open(options);
  const { page } = opened;
  await page.goto(`${http}/login`);
  for (const password of [first, OWN]) {
    await page.fill("input[name=login]", login);
    await page.fill("input[name=password]", password);
    await Promise.all([page.waitForLoadState("networkidle"), page.click("main button[type=submit]")]);
    if (password === OWN) break;
    await page.fill("input[name=current]", first);
    await page.fill("input[name=new]", OWN);
    await page.fill("input[name=again]", OWN);
    await page.click("form[action='/account/password'] button");
    await page.waitForURL(`${http}/login`);
  }
  return opened;
}

async function looks(page, name) {
  const wide = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  await page.screenshot({ path: artefact(`sharing-${name}.png`), fullPage: true });
  check(wide <= 1, `${name} scrolls ${wide} px sideways`);
}

async function drawn(page, selector, name) {
  // Our own pages take no pictures from data: addresses.
  const blank = await page.context().newPage();
  let deviation = 0;
  for (let wait = 0; wait < 240 && deviation < 10; wait += 1) {
    await page.waitForTimeout(250);
    const shown = page.locator(selector).first();
    if ((await shown.count()) === 0) continue;
    const box = await shown.boundingBox();
    if (!box || box.width * box.height < 40000) continue;
    const clip = { x: box.x + box.width * 0.3, y: box.y + box.height * 0.3, width: box.width * 0.4, height: box.height * 0.4 };
    deviation = await variation(blank, await page.screenshot({ clip }));
  }
  await blank.close();
  await page.screenshot({ path: artefact(`sharing-${name}.png`) });
  check(deviation >= 10, `${name} shows nothing`);
}

const DESK = { locale: "en", viewport: { width: 1440, height: 900 } };
const PHONE = { locale: "zh-CN", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

run(async () => {
  const sharer = await enter("sharer", sharersFirst, DESK);
  const mine = sharer.page;
  await mine.goto(`${http}/studies?modality=CT`);
  await mine.locator("main a[href^='/studies/2']").first().click();
  const study = mine.url().split("/").pop();
  await mine.locator("a[href$='/share']").click();
  const link = mine.locator("form[action$='/links']");
  await link.locator("input[name=name]").fill("the patient");
  await link.locator("button").click();
  const url = await mine.locator("[data-copy*='/l/']").first().getAttribute("data-copy");
  const code = await mine.locator("#code").innerText();
  check(await mine.locator("svg.qr").isVisible(), "no QR picture");
  check(/^[0-9]{6}$/.test(code), `the code is ${code}`);
  await looks(mine, "made-link");

  // A phone with no account.
  const phone = await open(PHONE);
  await phone.page.goto(url);
  await looks(phone.page, "phone-code");
  check(!(await phone.page.content()).includes(study), "the study is named before the code");
  await phone.page.fill("input[name=code]", code === "000000" ? "000001" : "000000");
  await phone.page.click("main button");
  await phone.page.locator("[role=alert]").waitFor();
  phone.errors.length = 0;
  await phone.page.fill("input[name=code]", code);
  await phone.page.click("main button");
  await phone.page.waitForURL(/\/links\/[0-9]+$/);
  await phone.page.waitForLoadState("networkidle");
  await looks(phone.page, "phone-studies");
  await phone.page.locator("[data-series]").first().tap();
  await drawn(phone.page, "#stack-image", "phone-image");
  const before = await phone.page.locator("#stack-place").innerText();
  await phone.page.locator("#stack-slider").evaluate((slider) => {
    slider.value = "1";
    slider.dispatchEvent(new Event("input"));
  });
  const after = await phone.page.locator("#stack-place").innerText();
  check(/^1 \/ [0-9]+$/.test(after) && before !== after, `the slider goes from ${before} to ${after}`);
  const source = await phone.page.locator("#stack-image").getAttribute("src");
  const windows = phone.page.locator("#stack-windows button");
  check((await windows.count()) === 5, "a CT has no windows to choose from");
  await windows.nth(1).tap();
  await phone.page.waitForFunction((old) => document.getElementById("stack-image").src !== old, source);
  await phone.page.locator("#stack-close").tap();
  check(await phone.page.locator("#stack").isHidden(), "the image does not close");
  check(phone.errors.length === 0, `on the phone: ${phone.errors.join("\n")}`);
  check(phone.foreign.length === 0, `the phone asks other servers: ${phone.foreign}`);
  const place = phone.page.url();
  const object = await phone.page.request.get(`${place}/dicom-web/studies/${study}`);
  check(object.status() === 403, `a link to look at gives objects: ${object.status()}`);

  // With a hospital, to look at in OHIF.
  await mine.goto(`${http}/studies/${study}/share`);
  const form = mine.locator(`form[action='/studies/${study}/share']`);
  await form.locator("select[name=tenant]").selectOption("centre");
  await form.locator("input[name=purpose]").fill("second opinion");
  await form.locator("button").click();
  await mine.waitForLoadState("networkidle");
  check(await mine.getByText("second opinion").isVisible(), "the grant is not listed");
  await looks(mine, "grants-of-study");
  const colleague = await enter("colleague", colleaguesFirst, DESK);
  const theirs = colleague.page;
  await theirs.goto(`${http}/shared`);
  await looks(theirs, "shared");
  check((await theirs.locator(".shared-list > li").count()) === 1, "not exactly one study is shared");
  colleague.errors.length = 0;
  await theirs.locator("a.button[href*='tenant=']").click();
  await drawn(theirs, "canvas", "ohif");
  const failed = colleague.errors.filter((error) => error.includes("/dicom-web"));
  check(failed.length === 0, `requests failed:\n${failed.join("\n")}`);

  // An emergency, once the owner allows it.
  const chief = await enter("chief", chiefsFirst, { ...DESK, locale: "zh-CN" });
  await chief.page.goto(`${http}/grants`);
  await chief.page.locator("form[action='/grants/emergency'] button").click();
  await chief.page.waitForLoadState("networkidle");
  const row = await (await mine.request.get(`${http}/dicom-web/studies?ModalitiesInStudy=MR&limit=1`)).json();
  const [patient, birth] = ["00100020", "00100030"].map((tag) => row[0][tag].Value[0]);
  await theirs.goto(`${http}/emergency`);
  await theirs.locator("select[name=tenant]").selectOption("default");
  await theirs.fill("input[name=patient]", patient);
  await theirs.fill("input[name=birth_date]", `${birth.slice(0, 4)}-${birth.slice(4, 6)}-${birth.slice(6)}`);
  await theirs.fill("input[name=reason]", "unconscious after a fall");
  await looks(theirs, "emergency");
  await theirs.click("form[action='/emergency'] button");
  await theirs.waitForURL(`${http}/shared`);
  check((await theirs.locator(".shared-list > li").count()) > 1, "the patient's studies are not there");
  await chief.page.goto(http);
  check(await chief.page.locator(".warning a[href='/grants']").isVisible(), "nobody tells the owner");
  await chief.page.goto(`${http}/grants`);
  await looks(chief.page, "grants-zh-CN");
  await chief.page.locator("form[action='/grants/review'] button").click();
  await chief.page.goto(http);
  check((await chief.page.locator(".warning a[href='/grants']").count()) === 0, "it is told for ever");

  // What is revoked is gone.
  await mine.goto(`${http}/studies/${study}/share`);
  await mine.locator("form[action='/grants/links/revoke'] button").click();
  await mine.locator("form[action='/grants/revoke'] button").first().click();
  await phone.page.reload();
  check((await phone.page.request.get(`${place}/dicom-web/studies`)).status() === 401, "a revoked link opens");
  await theirs.goto(`${http}/shared`);
  check(!(await theirs.content()).includes(study), "a revoked study is still shown");
  for (const one of [sharer, phone, colleague, chief]) await one.browser.close();
  console.log("shared, opened on a phone, read elsewhere, revoked");
});
