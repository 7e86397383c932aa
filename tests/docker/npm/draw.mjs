// Draws one box in labelImg as a person would: opens the page, types the password, presses W, drags
// with the mouse, types the class name, saves.
//
//   node draw.mjs ADDRESS PASSWORD CLASS PICTURE
//
// PICTURE is a screenshot of the end. Exits with 1 and a reason when the page does not get there.
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.env.NODE_MODULES}/`)("playwright-core");
const [address, password, name, picture] = process.argv.slice(2);
const box = { left: 300, top: 300, right: 480, bottom: 420 };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox"], // tests may run as root
});
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const pause = (milliseconds) => page.waitForTimeout(milliseconds);
  await page.goto(address);
  const asked = page.locator("#noVNC_password_input");
  await asked.waitFor({ timeout: 30000 });
  await asked.fill(password);
  await asked.press("Enter");
  const outcome = "html.noVNC_connected, #noVNC_status.noVNC_status_error";
  await page.waitForSelector(outcome, { timeout: 30000 });
  if (!(await page.locator("html.noVNC_connected").count())) throw new Error("not let in");
  await pause(2500); // the screen takes the size of the page, and the window that of the screen

  await page.mouse.move(box.left, box.top);
  await page.keyboard.press("w");
  await pause(300);
  await page.mouse.down();
  await page.mouse.move(box.left + 60, box.top + 40, { steps: 5 });
  await page.mouse.move(box.right, box.bottom, { steps: 5 });
  await page.mouse.up();
  await pause(1000); // the dialog that asks for the class
  await page.keyboard.type(name, { delay: 60 });
  await page.keyboard.press("Enter"); // takes the name that is offered,
  await pause(300);
  await page.keyboard.press("Enter"); // and closes the dialog
  await pause(500);
  await page.keyboard.press("Control+s");
  await pause(1000);
  await page.screenshot({ path: picture });
} finally {
  await browser.close();
}
