//! Threads of a program that cargo built.

fn main() {
    let threads: Vec<_> = (0..4).map(|n| std::thread::spawn(move || n * n)).collect();
    let sum: i32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("rust {sum}");
}

#[test]
fn sums() {
    assert_eq!(1 + 1, 2);
}
