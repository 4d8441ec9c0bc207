// An auditor at the audit trail: searches, opens a row, goes back in time, takes it away, has the chains
// checked. The second argument says whether somebody has altered the trail before.

const { artefact, http, open, run } = require("./common.js");

const [password, altered] = process.argv.slice(2);
const OWN = "seven-owls-wide-4";

function check(fine, what) {
  if (!fine) throw new Error(what);
}

async function logIn(page, password) {
  await page.goto(`${http}/login?next=%2Faudit`);
  await page.fill("input[name=login]", "eye");
  await page.fill("input[name=password]", password);
  await Promise.all([page.waitForLoadState("networkidle"), page.click("main button[type=submit]")]);
}

async function looks(page, name) {
  const wide = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  check(wide <= 1, `${name} scrolls ${wide} px sideways`);
  await page.screenshot({ path: artefact(`audit-${name}.png`), fullPage: true });
}

run(async () => {
  const { browser, page, errors, foreign } = await open({ locale: "en", viewport: { width: 1440, height: 900 } });
  if (altered === "altered") {
    await logIn(page, OWN);
    await page.click("form[action='/audit/verify'] button");
    await page.waitForSelector("#broken");
    check((await page.locator("#broken code").count()) > 0, "which row is not said");
    await browser.close();
    return;
  }
  await logIn(page, password);
  check(page.url() === `${http}/account`, `a first password leads to ${page.url()}`);
  await page.fill("input[name=current]", password);
  await page.fill("input[name=new]", OWN);
  await page.fill("input[name=again]", OWN);
  await page.click("form[action='/account/password'] button");
  await page.waitForURL(`${http}/login`);
  await logIn(page, OWN);
  check(page.url() === `${http}/audit`, `an auditor is at ${page.url()}`);
  check((await page.locator("a[href='/people']").count()) === 0, "an auditor is shown the way to /people");
  check((await page.locator("table.trail tbody tr").count()) > 2, "the trail is empty");

  const first = page.locator("table.trail tbody tr").first();
  check(!(await first.locator("dl").isVisible()), "details are open before they are asked for");
  await first.locator("summary").click();
  check(await first.locator("dl").isVisible(), "details do not open");
  check((await first.locator("dl").textContent()).includes("hash"), "the hash is not shown");
  const at = await first.locator("time").textContent();
  check(/^\d{4}-\d\d-\d\d \d\d:\d\d$/.test(at), `a time is written ${at}`);
  await looks(page, "en");

  await page.selectOption("select[name=action]", "login failed");
  await page.click("form[role=search] button[type=submit]");
  await page.waitForURL(/action=login/);
  check((await page.locator("table.trail").count()) === 0, "nobody failed to log in");
  check(await page.locator(".empty-title").isVisible(), "an empty answer is not said");
  await page.selectOption("select[name=action]", "login");
  await page.fill("input[name=who]", "eye");
  await page.click("form[role=search] button[type=submit]");
  await page.waitForURL(/who=eye/);
  const rows = await page.locator("table.trail tbody tr").count();
  check(rows >= 1, "the own login is not found");

  for (const [name, type, content] of [
    ["CSV", "text/csv", "login,success"],
    ["DICOM PS3.15 (XML)", "application/xml", "<AuditMessage>"],
  ]) {
    const href = await page.getByRole("link", { name, exact: true }).getAttribute("href");
    const answer = await page.request.get(http + href);
    check(answer.status() === 200, `${name}: ${answer.status()}`);
    check(answer.headers()["content-type"].startsWith(type), `${name}: ${answer.headers()["content-type"]}`);
    const text = await answer.text();
    check(text.includes(content), `${name} does not hold ${content}`);
    check(!text.includes("read audit"), `${name} holds what was not searched for`);
  }

  await page.click("form[action='/audit/verify'] button");
  await page.waitForSelector("#proven");
  await page.goto(`${http}/audit?lang=zh-CN`);
  check((await page.locator("h1").textContent()) === "审计", "no Chinese");
  await looks(page, "zh-CN");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto(`${http}/audit`);
  await looks(page, "phone");
  check(errors.length === 0, `errors on the page: ${errors}`);
  check(foreign.length === 0, `asked elsewhere: ${foreign}`);
  await browser.close();
});
