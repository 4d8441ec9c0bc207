// A person with a password that somebody else set: the login in both languages and on a phone, the
// password of one's own, a study in OHIF by the session alone, an administrator's pages, the logout.

const { artefact, code, http, open, run, variation } = require("./common.js");

const [doctorsFirst, chiefsFirst] = process.argv.slice(2);
const OWN = "seven-owls-wide-4";

function check(fine, what) {
  if (!fine) throw new Error(what);
}

async function logIn(page, login, password) {
  await page.fill("input[name=login]", login);
  await page.fill("input[name=password]", password);
  await Promise.all([page.waitForLoadState("networkidle"), page.click("main button[type=submit]")]);
}

async function choosePassword(page, login, first) {
  await page.goto(`${http}/studies`);
  await logIn(page, login, first);
  check(page.url() === `${http}/account`, `a first password leads to ${page.url()}`);
  await page.fill("input[name=current]", first);
  await page.fill("input[name=new]", OWN);
  await page.fill("input[name=again]", OWN);
  await page.click("form[action='/account/password'] button");
  await page.waitForURL(`${http}/login`);
  await logIn(page, login, OWN);
}

async function looks(page, name) {
  const wide = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  check(wide <= 1, `${name} scrolls ${wide} px sideways`);
  await page.screenshot({ path: artefact(`access-${name}.png`), fullPage: true });
}

run(async () => {
  for (const [locale, size] of [["zh-CN", { width: 1440, height: 900 }], ["en", { width: 390, height: 844 }]]) {
    const { browser, page } = await open({ locale, viewport: size });
    await page.goto(`${http}/studies?name=x`);
    check(page.url() === `${http}/login?next=%2Fstudies%3Fname%3Dx`, `nobody is at ${page.url()}`);
    await looks(page, `login-${locale}`);
    await logIn(page, "doctor", "certainly wrong");
    check(await page.locator("[role=alert]").isVisible(), "a wrong password is not said");
    check((await page.inputValue("input[name=login]")) === "doctor", "the login has to be typed again");
    check((await page.inputValue("input[name=password]")) === "", "the password comes back");
    await browser.close();
  }

  const { browser, page, errors, foreign } = await open({ locale: "en", viewport: { width: 1440, height: 900 } });
  await choosePassword(page, "doctor", doctorsFirst);
  await page.goto(`${http}/studies`);
  check((await page.locator("table.studies tbody tr").count()) > 0, "no studies after the login");
  check((await page.locator("a[href='/people']").count()) === 0, "a reader is shown the way to /people");
  const refused = await page.request.get(`${http}/people`);
  check(refused.status() === 403, `a reader opens /people: ${refused.status()}`);
  errors.length = 0;
  await page.locator("a[href*='StudyInstanceUIDs']").first().click();
  let deviation = 0;
  for (let wait = 0; wait < 240 && deviation < 10; wait += 1) {
    await page.waitForTimeout(250);
    const canvas = page.locator("canvas").first();
    if ((await canvas.count()) === 0) continue;
    const box = await canvas.boundingBox();
    if (!box || box.width * box.height < 40000) continue;
    const clip = { x: box.x + box.width * 0.3, y: box.y + box.height * 0.3, width: box.width * 0.4, height: box.height * 0.4 };
    deviation = await variation(page, await page.screenshot({ clip }));
  }
  await page.screenshot({ path: artefact("access-ohif.png") });
  check(deviation >= 10, "OHIF shows nothing to a person who is logged in");
  const failed = errors.filter((error) => error.includes("/dicom-web"));
  check(failed.length === 0, `requests failed:\n${failed.join("\n")}`);
  check(foreign.length === 0, `asks other servers: ${foreign}`);
  await page.goto(`${http}/account`);
  await looks(page, "account-en");
  await page.click("form[action='/logout'] button");
  await page.waitForURL(`${http}/login`);
  const after = await page.request.get(`${http}/dicom-web/studies`);
  check(after.status() === 401, `after the logout: ${after.status()}`);
  await browser.close();

  const chief = await open({ locale: "zh-CN", viewport: { width: 1440, height: 900 } });
  await choosePassword(chief.page, "chief", chiefsFirst);
  await chief.page.goto(`${http}/people`);
  const form = chief.page.locator("form[action='/people']");
  await form.locator("input[name=login]").fill("li.si");
  await form.locator("input[name=name]").fill("李四");
  await form.locator("input[value=technician]").check();
  await form.locator("button").click();
  const secret = await chief.page.locator("#secret").innerText();
  check(/^[a-z2-9-]{19}$/.test(secret), `the new password is ${secret}`);
  check(await chief.page.getByText("李四").isVisible(), "the new person is not listed");
  await looks(chief.page, "people-zh-CN");
  await chief.page.goto(`${http}/tokens`);
  const token = chief.page.locator("form[action='/tokens']");
  await token.locator("input[name=name]").fill("工作站");
  await token.locator("input[value=read]").check();
  await token.locator("button").click();
  const made = await chief.page.locator("#secret").innerText();
  await looks(chief.page, "tokens-zh-CN");
  const asked = await fetch(`${http}/dicom-web/studies`, { headers: { Authorization: `Bearer ${made}` } });
  check(asked.status === 200, `the new token: ${asked.status}`);
  await chief.page.locator("form[action='/tokens/revoke'] button").click();
  const revoked = await fetch(`${http}/dicom-web/studies`, { headers: { Authorization: `Bearer ${made}` } });
  check(revoked.status === 401, `the revoked token: ${revoked.status}`);

  // A second factor, and somebody who is invited.
  await chief.page.goto(`${http}/account`);
  await chief.page.fill("form#factor input[name=current]", OWN);
  await chief.page.click("form#factor button");
  await chief.page.waitForURL(`${http}/account/factor`);
  check((await chief.page.locator("svg.qr").boundingBox()).width > 150, "the picture for the phone is not there");
  await looks(chief.page, "factor-zh-CN");
  const shared = await chief.page.locator("#secret").innerText();
  await chief.page.fill("input[name=code]", code(shared, 0));
  await chief.page.click("form[action='/account/factor/confirm'] button");
  await chief.page.waitForURL(`${http}/account/factor/confirm`);
  check((await chief.page.locator("#codes li").count()) === 10, "there are not ten recovery codes");
  await chief.page.goto(`${http}/people`);
  const invite = chief.page.locator("form[action='/people/invite']");
  await invite.locator("input[name=note]").fill("王医生");
  await invite.locator("input[value=reader]").check();
  await invite.locator("button").click();
  const link = await chief.page.locator("#secret").innerText();
  check(link.startsWith(`${http}/invitation?code=`), `the link is ${link}`);
  await looks(chief.page, "invite-zh-CN");
  await chief.page.click("form[action='/logout'] button");
  await chief.page.waitForURL(`${http}/login`);
  await logIn(chief.page, "chief", OWN);
  check(chief.page.url() === `${http}/login/code`, `after the password: ${chief.page.url()}`);
  await looks(chief.page, "code-zh-CN");
  await chief.page.fill("input[name=code]", code(shared, 1));
  await chief.page.click("main button[type=submit]");
  await chief.page.waitForURL(`${http}/`);
  await chief.browser.close();

  const invited = await open({ locale: "zh-CN", viewport: { width: 390, height: 844 } });
  await invited.page.goto(link);
  await looks(invited.page, "invitation-zh-CN");
  await invited.page.fill("input[name=login]", "wang.wu");
  await invited.page.fill("input[name=new]", OWN);
  await invited.page.fill("input[name=again]", OWN);
  await invited.page.click("main button[type=submit]");
  await invited.page.waitForURL(`${http}/login`);
  await logIn(invited.page, "wang.wu", OWN);
  check((await invited.page.request.get(`${http}/studies`)).status() === 200, "whoever was invited sees nothing");
  await invited.browser.close();
  console.log("logged in, read, managed, left");
});
