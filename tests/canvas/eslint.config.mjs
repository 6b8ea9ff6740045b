// What `npm run lint` in this folder checks: the page of the board and its tests. Nothing of this is needed to install or use it.

import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, globals: { ...globals.browser, ...globals.node } },
    rules: { eqeqeq: "error", "no-var": "error", "prefer-const": "error", "no-shadow": "off", "no-unused-vars": "error" },
  },
];
