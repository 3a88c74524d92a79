// A result as the command line prints it with --json and as the server keeps it (package shared/compose). What is read here comes from
// the server too, so everything optional is optional.
import type { Objective } from "../domain";

export interface Point {
  module?: string;
  objective: number;
  loss: number;
  heldout?: number | null;
  accuracy?: number | null;
  weights: number[];
}

export interface Prediction {
  input: string;
  target: string;
  before: string;
  after: string;
  before_right: boolean;
  after_right: boolean;
  held_out?: boolean;
}

export interface Step {
  evaluation: number;
  round: number;
  objective: number | null;
  best: number | null;
  heldout: number | null;
}

export interface Output {
  modules: string[];
  weights: Record<string, number>;
  objective: Objective;
  zero_shot: Point | null;
  best_single: Point | null;
  composed: Point | null;
  heldout_by: string;
  examples: number;
  holdout: number;
  eval_examples: number;
  evaluations: number;
  extra_evaluations: number;
  rounds: number;
  stopped: string;
  seconds: number;
  search_seconds: number;
  few: Prediction[] | null;
  eval: Prediction[] | null;
  history: Step[] | null;
  warnings: string[] | null;
  method: string;
  optimizer: string;
  seed: number;
  backend: string;
  base: string;
  rank?: number;
  adapter?: string;
  command?: string;
}
