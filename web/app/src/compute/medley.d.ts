// The declarations of web/medley.js, which is loaded at run time.

export type Files = Record<string, Uint8Array<ArrayBuffer>>;

export interface Candidate {
  name: string;
  device: string;
  software: boolean;
  passed: boolean;
  error: string;
  gflops: number;
  chosen: boolean;
}

export interface Model {
  backend: string;
  device: string;
  reason: string;
  candidates: Candidate[];
  addModule(name: string, files: Files): Promise<{ layers: number }>;
  tokens(examples: { input: string; output: string }[]): Promise<{ input: number; output: string[]; warning: string }[]>;
  score(
    examples: { input: string; output: string }[], weights: number[][], options?: { method?: string },
  ): Promise<{ loss: number; examples: number[]; logProbs: number[][] }[]>;
  generate(
    inputs: string[], weights: number[], onToken?: (input: number, id: number, text: string) => void, options?: { method?: string; maxTokens?: number },
  ): Promise<{ ids: number[]; text: string }[]>;
  close(): void;
}

export interface Composed {
  archive: Uint8Array<ArrayBuffer>;
  sha256: string;
  rank: number;
  difference: { max_abs: number; relative: number | null };
}

export interface Medley {
  open(files: Files, options?: { backend?: string }): Promise<Model>;
  compose(modules: { files: Files; weight: number }[], options: { method: string; rank?: number; base: string }): Promise<Composed>;
}
