// Follows the address of leap.py, once, behind page.js.
export default function ({ data, parentElement }) {
  if (parentElement._itdaLeapt === data.href) return;
  parentElement._itdaLeapt = data.href;
  follow(data.href);
}
